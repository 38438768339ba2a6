//go:build long

package redis_test

func init() { onlyWhole = false }
