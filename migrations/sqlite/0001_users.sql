-- Names and addresses are compared byte by byte. Instants are milliseconds since 1970.
CREATE TABLE IF NOT EXISTS users (
    name TEXT NOT NULL PRIMARY KEY,
    email TEXT,
    phone TEXT,
    password_hash TEXT NOT NULL,
    nickname TEXT,
    is_admin INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_login_at INTEGER,
    applied_at INTEGER NOT NULL,
    applied_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS users_email ON users (email);
CREATE UNIQUE INDEX IF NOT EXISTS users_phone ON users (phone);
