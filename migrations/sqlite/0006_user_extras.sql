-- What an overloaded database put off: a JSON object a user, merged into `users` when it is well.
CREATE TABLE IF NOT EXISTS user_extras (
    name TEXT NOT NULL PRIMARY KEY,
    extras TEXT NOT NULL
) STRICT, WITHOUT ROWID;
