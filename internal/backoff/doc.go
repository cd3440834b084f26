// Package backoff repeats what failed for a reason that passes: a server that is busy, a lock that another transaction holds.
//
// What may be repeated is decided where the failure is understood, by the function given to [Retry]; everything else is returned at
// once. Waits double from one try to the next and are blurred, so that callers that failed together do not come back together.
package backoff
