package main

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/juggler-go/juggler/calleekit"
)

// schema has a row for each effect, under the key of its call.
const schema = `
CREATE TABLE IF NOT EXISTS effects (
	key    TEXT PRIMARY KEY,                    -- calleekit.Call.Key
	answer TEXT,                                -- what the call returned, as JSON
	at     TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)`

// once runs effect in a transaction, and stores its answer under the key of the call in the
// same one. Where an effect is stored under the key it only returns what that answered.
func once[T any](ctx context.Context, db *sql.DB, effect func(*sql.Tx) (T, error)) (answer T, err error) {
	key := calleekit.CallFrom(ctx).Key()
	if key == "" {
		return answer, calleekit.Errorf(calleekit.CodeBadRequest, "call this with a key")
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return answer, err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing

	// To write first is what makes another run with this key wait for the end of ours.
	claim, err := tx.ExecContext(ctx, `INSERT INTO effects (key) VALUES (?) ON CONFLICT DO NOTHING`, key)
	if err != nil {
		return answer, err
	}
	if claimed, err := claim.RowsAffected(); err != nil {
		return answer, err
	} else if claimed == 0 {
		return stored[T](ctx, tx, key)
	}
	if answer, err = effect(tx); err != nil {
		return answer, err // and nothing is done
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return answer, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE effects SET answer = ? WHERE key = ?`, string(text), key); err != nil {
		return answer, err
	}
	return answer, tx.Commit()
}

// stored returns what the effect under key answered.
func stored[T any](ctx context.Context, tx *sql.Tx, key string) (answer T, err error) {
	var text string
	if err := tx.QueryRowContext(ctx, `SELECT answer FROM effects WHERE key = ?`, key).Scan(&text); err != nil {
		return answer, err
	}
	return answer, json.Unmarshal([]byte(text), &answer)
}
