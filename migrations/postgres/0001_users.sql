-- Names and addresses are compared byte by byte. Instants are milliseconds since 1970.
CREATE TABLE IF NOT EXISTS users (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    email TEXT COLLATE "C",
    phone TEXT COLLATE "C",
    password_hash TEXT COLLATE "C" NOT NULL,
    nickname TEXT COLLATE "C",
    is_admin BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_login_at BIGINT,
    applied_at BIGINT NOT NULL,
    applied_id TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS users_email ON users (email);
CREATE UNIQUE INDEX IF NOT EXISTS users_phone ON users (phone);
