"""The broker: the only room that imports kombu and py-amqp."""
