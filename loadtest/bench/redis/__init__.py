"""What a Redis command costs in Fairlead, next to twemproxy."""
