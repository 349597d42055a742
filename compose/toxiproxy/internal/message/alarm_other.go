//go:build !linux

package message

func newAlarm() alarm { return newRuntimeAlarm() }

// monotonicNS is 0: there is no clock here that processes share.
func monotonicNS() int64 { return 0 }
