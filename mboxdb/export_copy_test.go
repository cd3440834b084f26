package mboxdb

var (
	AppendString = appendString
	AppendHex    = appendHex
	LiteralLen   = literalLen
	Unescape     = unescape
)
