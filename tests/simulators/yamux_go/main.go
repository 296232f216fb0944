// A peer from the other implementation: hashicorp/yamux itself, over one TCP connection.
//
// main server ADDRESS: dial, be the yamux server, send every stream's bytes back.
// main client ADDRESS STREAMS BYTES: dial, be the yamux client, open STREAMS streams at once, send BYTES bytes on
// each, read as many back, compare, ping; print "equal N".
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/hashicorp/yamux"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	check(err)
	return value
}

func serve(session *yamux.Session) {
	for {
		stream, err := session.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(stream, stream)
			_ = stream.Close()
		}()
	}
}

func exchange(session *yamux.Session, seed, size int) bool {
	stream, err := session.Open()
	check(err)
	sent := make([]byte, size)
	rand.New(rand.NewSource(int64(seed))).Read(sent)
	go func() {
		_, err := stream.Write(sent)
		check(err)
	}()
	received := make([]byte, size)
	_, err = io.ReadFull(stream, received)
	check(err)
	check(stream.Close())
	return bytes.Equal(sent, received)
}

func main() {
	connection, err := net.Dial("tcp", os.Args[2])
	check(err)
	if os.Args[1] == "server" {
		session, err := yamux.Server(connection, nil)
		check(err)
		serve(session)
		return
	}
	session, err := yamux.Client(connection, nil)
	check(err)
	var wait sync.WaitGroup
	var lock sync.Mutex
	equal := 0
	for stream := 0; stream < number(os.Args[3]); stream++ {
		wait.Add(1)
		go func(seed int) {
			defer wait.Done()
			if exchange(session, seed, number(os.Args[4])) {
				lock.Lock()
				equal++
				lock.Unlock()
			}
		}(stream)
	}
	wait.Wait()
	_, err = session.Ping()
	check(err)
	fmt.Println("equal", equal)
	check(session.Close())
}
