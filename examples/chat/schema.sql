CREATE TABLE IF NOT EXISTS messages (
	id   INTEGER PRIMARY KEY AUTOINCREMENT,
	room TEXT NOT NULL,
	user TEXT NOT NULL,
	key  TEXT NOT NULL, -- made by who sends it: a message that is sent again is there once
	text TEXT NOT NULL,
	at   INTEGER NOT NULL, -- Unix, ms
	UNIQUE (user, key)
);
CREATE INDEX IF NOT EXISTS messages_of_room ON messages (room, id);
CREATE TABLE IF NOT EXISTS reads (
	user TEXT NOT NULL,
	room TEXT NOT NULL,
	id   INTEGER NOT NULL, -- the last message that the user has read, on whatever device
	PRIMARY KEY (user, room)
) WITHOUT ROWID;
