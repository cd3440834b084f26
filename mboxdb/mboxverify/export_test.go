package mboxverify

// What has no public door.
var CompareIntegers = compareIntegers
