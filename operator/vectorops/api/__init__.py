"""The resources, as pydantic models: the one source of the CRDs, the validation and the API reference."""
