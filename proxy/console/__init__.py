"""The admin console: MySQL's protocol over read-only tables about this Fairlead, and the verbs of the CLI.

    server      the listening socket, who may come in, how many
    guard       accounts, roles, back-off after failed logins
    session     one connection: packets and commands
    statements  a statement's words, and the SQLite text of a query
    language    SHOW, DESCRIBE, SET and their kin -> queries
    database    an in-memory SQLite database per query: authorizer, limits, column types
    tables/     what each table is and where its rows come from
    workers     asks the workers what only they know
    verbs       APPLY, RELOAD, KILL and their kin
"""
