-- One row: the secret that all daemons on this database share.
CREATE TABLE IF NOT EXISTS shared_secret (
    id BIGINT NOT NULL,
    secret VARBINARY(32) NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
