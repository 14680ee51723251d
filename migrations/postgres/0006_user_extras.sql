-- What an overloaded database put off: a JSON object a user, merged into `users` when it is well.
CREATE TABLE IF NOT EXISTS user_extras (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    extras TEXT COLLATE "C" NOT NULL
);
