"""The ingest: turns notifications and commands that come by HTTP into messages, each once and durably."""
