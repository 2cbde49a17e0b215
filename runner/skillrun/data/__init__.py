"""Data sets: made (``synth``), converted (``deeppcb``) and checked (``check``) in the documented layouts."""
