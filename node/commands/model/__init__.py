"""Commands on models: create, train, watch, publish, chat."""
