package mboxdb

// A Claim is a mover's hold on an account at a destination.
type Claim struct {
	Move, AccountID string
	Fence           uint64
	Token           string
}

// A Holder is what the fence row says.
type Holder struct {
	Move  string
	Fence uint64
	State string
}
