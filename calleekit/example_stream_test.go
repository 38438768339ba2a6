package calleekit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/juggler-go/juggler/calleekit"
)

// A function that says how far it is, to callers that want to know.
func ExampleCall_Send() {
	makeReport := func(ctx context.Context, c *calleekit.Call) (any, error) {
		const pages = 4
		for page := range pages {
			// … write the page …
			if err := c.Send(ctx, map[string]int{"done": page + 1, "of": pages}); err != nil {
				return nil, err // the caller is gone, or the time is over
			}
		}
		return "report-7.pdf", nil
	}

	var r calleekit.Recorder // the caller of a test
	result, err := r.Serve(context.Background(), makeReport, &calleekit.Call{})
	for _, part := range r.Parts {
		fmt.Println(string(part))
	}
	fmt.Println(string(result), err)
	// Output:
	// {"done":1,"of":4}
	// {"done":2,"of":4}
	// {"done":3,"of":4}
	// {"done":4,"of":4}
	// "report-7.pdf" <nil>
}

// A function whose answer is a text that comes word by word. It is asked for the next word
// only when the caller takes one more.
func ExampleStream() {
	answer := calleekit.Stream(func(ctx context.Context, prompt string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for word := range strings.FieldsSeq("You asked: " + prompt) { // of a model, with ctx
				if !yield(word, nil) {
					return
				}
			}
		}
	})

	var r calleekit.Recorder
	_, err := r.Serve(context.Background(), answer, &calleekit.Call{Args: json.RawMessage(`"how are you"`)})
	for _, part := range r.Parts {
		fmt.Print(string(part), " ")
	}
	fmt.Println(err)
	// Output: "You" "asked:" "how" "are" "you" <nil>
}
