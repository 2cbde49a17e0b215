"""Names that ``spec_params`` of a contract may use: how a key gets its value from the run and its parents.

A text that is not listed here is an error of the contract, never a literal value.
"""

from __future__ import annotations

OUTPUT_FOLDERS = frozenset({"output_dir", "automl_output_dir"})
PARENT_FILES = frozenset(
    {
        "parent_model",
        "parent_model_folder",
        "parent_model_or_ptm",
        "parent_model_evaluate",
        "pruned_model",
    }
)
RESUME = frozenset(
    {
        "resume_model",
        "resume_model_bool",
        "resume_model_or_ptm",
        "ptm_if_no_resume_model",
        "automl_resume_model",
        "automl_resume_model_bool",
        "automl_assign_ptm",
        "automl_ptm_if_no_resume_model",
    }
)
NEW_FILES = frozenset(
    {
        "create_onnx_file",
        "create_engine_file",
        "create_pth_file",
        "create_cal_cache",
        "create_cal_data_file",
        "create_inference_result_file",
    }
)
OTHER = frozenset({"key", "ptm"})

INFERENCE_FUNCTIONS = OUTPUT_FOLDERS | PARENT_FILES | RESUME | NEW_FILES | OTHER
