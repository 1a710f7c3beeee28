"""The contract written down: AsyncAPI and JSON Schemas, with examples that the bridge itself has made."""
