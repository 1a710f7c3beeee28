"""SMS Bridge: SMS commands from RabbitMQ to the Kandy CPaaS API, its webhooks to events."""
