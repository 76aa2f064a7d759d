// On each byte from standard input four goroutines resize mappings by a hundred calls each. The
// package syscall makes system calls by an instruction of its own.
package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

const page = 4096

func mremap(old, oldLen, newLen uintptr) uintptr {
	const mayMove = 1
	address, _, errno := syscall.Syscall6(syscall.SYS_MREMAP, old, oldLen, newLen, mayMove, 0, 0)
	if errno != 0 {
		panic(errno)
	}
	return address
}

func resize(turns int) {
	const anonymous = syscall.MAP_PRIVATE | syscall.MAP_ANON
	address, _, errno := syscall.Syscall6(syscall.SYS_MMAP, 0, page, syscall.PROT_READ, anonymous, ^uintptr(0), 0)
	if errno != 0 {
		panic(errno)
	}
	for i := uintptr(1); i <= uintptr(turns); i++ {
		address = mremap(address, i*page, (i+1)*page)
	}
}

func main() {
	fmt.Println("ready")
	for input := make([]byte, 1); ; {
		if count, _ := os.Stdin.Read(input); count == 0 {
			return
		}
		var group sync.WaitGroup
		for i := 0; i < 4; i++ {
			group.Add(1)
			go func() {
				resize(100)
				group.Done()
			}()
		}
		group.Wait()
		fmt.Println("400 calls")
	}
}
