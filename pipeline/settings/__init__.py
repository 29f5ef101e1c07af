"""The configuration as pydantic models, a file a stage; an unknown key is an error everywhere."""
