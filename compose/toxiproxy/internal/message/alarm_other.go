//go:build !linux

package message

func newAlarm() alarm { return newRuntimeAlarm() }
