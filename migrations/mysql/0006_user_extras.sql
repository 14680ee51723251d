-- What an overloaded database put off: a JSON object a user, merged into `users` when it is well.
CREATE TABLE IF NOT EXISTS user_extras (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE /*M!100200 utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */ NOT NULL,
    extras MEDIUMTEXT NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
