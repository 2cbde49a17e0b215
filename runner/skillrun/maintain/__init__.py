"""For maintainers of the bank: schemas, templates and tables are generated from the config classes."""
