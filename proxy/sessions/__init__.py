"""What a client's session is: login, variables, transactions, prepared statements, commands, kills, moves."""
