package zimbratest_test

import (
	"context"
	"fmt"

	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// Example moves Alice while the answer to one effect is lost, and goes on with the move in a second process.
func Example() {
	ctx := context.Background()
	w := zimbratest.New()

	first, err := zimbra.New(w.Process("first", zimbratest.Fault{Kind: zimbratest.KillAfter, At: 60}).Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := first.Plan(ctx, zimbra.Request{Account: zimbratest.Alice, To: zimbratest.Dest})
	if err != nil {
		fmt.Println(err)
		return
	}
	mv, err := first.Start(ctx, plan)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("first:", mv.Run(ctx, zimbra.PhaseFinish) != nil, mv.Status().Outcome)

	second, err := zimbra.New(w.Process("second", zimbratest.Fault{}).Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	mv, err = second.Open(ctx, mv.ID())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mv.Close()
	fmt.Println("second:", mv.Run(ctx, zimbra.PhaseFinish), mv.Status().Outcome)
	fmt.Println("wrong:", w.Check())
	// Output:
	// first: true open
	// second: <nil> moved
	// wrong: []
}
