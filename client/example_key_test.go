package client_test

import (
	"context"
	"fmt"

	"github.com/juggler-go/juggler/client"
)

// The first half of an answer is read, then the application ends; the second half is read
// where it goes on.
func ExampleKey() {
	url, stop := wordServer()
	defer stop()
	ctx := context.Background()
	const key = "story-7" // made when the story was asked for, and stored with it

	read := func(args any, until string, opts ...client.StreamOption) (last int) {
		c, err := client.Dial(ctx, url)
		if err != nil {
			fmt.Println(err)
			return 0
		}
		defer c.Close()
		s, err := c.Stream(ctx, "text.words", args, opts...)
		if err != nil {
			fmt.Println(err)
			return 0
		}
		for word, err := range client.PartsAs[string](s) {
			if err != nil {
				fmt.Println(err)
				break
			}
			fmt.Println(s.Last(), word)
			if word == until {
				break // only from here: the call goes on
			}
		}
		return s.Last()
	}
	last := read("Once upon a time", "upon", client.Key(key))
	read(nil, "", client.Key(key), client.Join(last))
	// Output:
	// 1 Once
	// 2 upon
	// 3 a
	// 4 time
}
