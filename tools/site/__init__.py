"""The documentation site: pages of the repository and of the code, put together for MkDocs."""
