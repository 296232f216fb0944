// The patients of the tunnel's bench: downloads whose every byte is compared, small requests, new connections, readers
// that stall. TLS 1.3, HTTP/1.1 by hand, nothing kept between two connections. One JSON line on standard output.
//
//	load downloads|requests|connects|beside|stalled|until-served -address HOST:PORT -name HOST -ca FILE -pattern FILE ...
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const pieceBytes = 256 * 1024

var errWrongBytes = errors.New("wrong bytes")

// Patient is where to dial, what to trust there, and the bytes that /bytes/N repeats.
type Patient struct {
	address string
	config  *tls.Config
	pattern []byte
}

// Connection is an open TLS connection with what was read ahead of it.
type Connection struct {
	*tls.Conn
	reader *bufio.Reader
}

func (patient *Patient) connect(limit time.Duration) (*Connection, error) {
	tcp, err := net.DialTimeout("tcp", patient.address, limit)
	if err != nil {
		return nil, err
	}
	connection := tls.Client(tcp, patient.config)
	_ = tcp.SetDeadline(time.Now().Add(limit))
	if err := connection.Handshake(); err != nil {
		tcp.Close()
		return nil, err
	}
	_ = tcp.SetDeadline(time.Time{})
	return &Connection{connection, bufio.NewReaderSize(connection, 4096)}, nil
}

// ask sends a request and gives the length of the body that follows.
func (connection *Connection) ask(name string, path string) (int64, error) {
	if _, err := io.WriteString(connection, "GET "+path+" HTTP/1.1\r\nHost: "+name+"\r\n\r\n"); err != nil {
		return 0, err
	}
	length, first := int64(-1), true
	for {
		line, err := connection.reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		line = strings.TrimRight(line, "\r\n")
		if first && !strings.HasPrefix(line, "HTTP/1.1 200") {
			return 0, errors.New(line)
		}
		first = false
		if line == "" {
			break
		}
		if key, value, found := strings.Cut(line, ":"); found && strings.EqualFold(key, "Content-Length") {
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("no length")
	}
	return length, nil
}

// download takes the body of /bytes/N and compares it; `taken` counts meanwhile. Ended early when `over` says so.
func (patient *Patient) download(connection *Connection, size int64, taken *int64, over *int32) error {
	length, err := connection.ask(patient.config.ServerName, fmt.Sprintf("/bytes/%d", size))
	if err != nil {
		return err
	}
	if length != size {
		return errWrongBytes
	}
	piece := make([]byte, pieceBytes)
	for offset := int64(0); offset < size; {
		if over != nil && atomic.LoadInt32(over) != 0 {
			return nil
		}
		room := size - offset
		if room > pieceBytes {
			room = pieceBytes
		}
		count, err := connection.reader.Read(piece[:room])
		if err != nil {
			return err
		}
		for seen := piece[:count]; len(seen) > 0; {
			rest := patient.pattern[offset%int64(len(patient.pattern)):]
			if len(rest) > len(seen) {
				rest = rest[:len(seen)]
			}
			if !bytes.Equal(rest, seen[:len(rest)]) {
				return errWrongBytes
			}
			seen = seen[len(rest):]
			offset += int64(len(rest))
		}
		atomic.AddInt64(taken, int64(count))
	}
	return nil
}

// small makes one small request.
func (patient *Patient) small(connection *Connection) error {
	length, err := connection.ask(patient.config.ServerName, "/bytes/200")
	if err != nil {
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(connection.reader, body); err != nil {
		return err
	}
	if length != 200 || !bytes.Equal(body, patient.pattern[:200]) {
		return errWrongBytes
	}
	return nil
}

type answer map[string]interface{}

func quantiles(taken []float64) answer {
	sort.Float64s(taken)
	at := func(part float64) float64 {
		if len(taken) == 0 {
			return 0
		}
		return taken[int(part*float64(len(taken)-1))]
	}
	return answer{"count": len(taken), "p50_s": at(0.5), "p99_s": at(0.99), "max_s": at(1)}
}

func failures(found []error) (texts []string, wrong int) {
	texts = []string{}
	for _, err := range found {
		if err != nil {
			texts = append(texts, err.Error())
			if errors.Is(err, errWrongBytes) {
				wrong++
			}
		}
	}
	return texts, wrong
}

func (patient *Patient) downloads(streams int, size int64, limit time.Duration) answer {
	found := make([]error, streams)
	var taken int64
	var group sync.WaitGroup
	began := time.Now()
	for number := 0; number < streams; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			connection, err := patient.connect(limit)
			if err == nil {
				defer connection.Close()
				_ = connection.SetDeadline(time.Now().Add(limit))
				err = patient.download(connection, size, &taken, nil)
			}
			found[number] = err
		}(number)
	}
	group.Wait()
	seconds := time.Since(began).Seconds()
	errs, wrong := failures(found)
	return answer{"seconds": seconds, "bytes": taken, "errors": errs, "wrong": wrong}
}

func (patient *Patient) requests(count, warm int, pause, limit time.Duration) (answer, error) {
	connection, err := patient.connect(limit)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return patient.requestsOn(connection, count, warm, pause, limit)
}

func (patient *Patient) requestsOn(connection *Connection, count, warm int, pause, limit time.Duration) (answer, error) {
	taken := make([]float64, 0, count)
	for number := 0; number < warm+count; number++ {
		_ = connection.SetDeadline(time.Now().Add(limit))
		began := time.Now()
		if err := patient.small(connection); err != nil {
			return nil, err
		}
		if number >= warm {
			taken = append(taken, time.Since(began).Seconds())
		}
		time.Sleep(pause)
	}
	return quantiles(taken), nil
}

func (patient *Patient) connects(count int, pause, limit time.Duration) (answer, error) {
	taken := make([]float64, 0, count)
	for number := 0; number < count; number++ {
		began := time.Now()
		connection, err := patient.connect(limit)
		if err != nil {
			return nil, err
		}
		_ = connection.SetDeadline(time.Now().Add(limit))
		if err := patient.small(connection); err != nil {
			return nil, err
		}
		taken = append(taken, time.Since(began).Seconds())
		connection.Close()
		time.Sleep(pause)
	}
	return quantiles(taken), nil
}

// beside measures small requests on an open connection while `bulk` others download without end.
func (patient *Patient) beside(bulk, count int, settle, pause, limit time.Duration) (answer, error) {
	small, err := patient.connect(limit)
	if err != nil {
		return nil, err
	}
	defer small.Close()
	_ = small.SetDeadline(time.Now().Add(limit))
	if err := patient.small(small); err != nil {
		return nil, err
	}
	var taken int64
	var over int32
	found := make([]error, bulk)
	var group sync.WaitGroup
	connections := make([]*Connection, bulk)
	for number := range connections {
		if connections[number], err = patient.connect(limit); err != nil {
			return nil, err
		}
	}
	for number := range connections {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			err := patient.download(connections[number], 1<<40, &taken, &over)
			if atomic.LoadInt32(&over) == 0 {
				found[number] = err
			}
		}(number)
	}
	time.Sleep(settle)
	began, before := time.Now(), atomic.LoadInt64(&taken)
	measured, err := patient.requestsOn(small, count, 0, pause, limit)
	rate := float64(atomic.LoadInt64(&taken)-before) / time.Since(began).Seconds()
	atomic.StoreInt32(&over, 1)
	for _, connection := range connections {
		connection.NetConn().Close()
	}
	group.Wait()
	if err != nil {
		return nil, err
	}
	measured["bulk_bytes_per_s"] = rate
	measured["errors"], measured["wrong"] = failures(found)
	return measured, nil
}

// stalled asks for much, reads the header, and then nothing until standard input ends.
func (patient *Patient) stalled(streams int, limit time.Duration) error {
	held := make([]*Connection, streams)
	for number := range held {
		connection, err := patient.connect(limit)
		if err != nil {
			return err
		}
		if _, err := connection.ask(patient.config.ServerName, fmt.Sprintf("/bytes/%d", 1<<30)); err != nil {
			return err
		}
		held[number] = connection
	}
	fmt.Println(`{"stalled": true}`)
	_, err := io.Copy(io.Discard, os.Stdin)
	for _, connection := range held {
		connection.NetConn().Close()
	}
	return err
}

// untilServed tries new connections, a new one every `pause`, until one is answered.
func (patient *Patient) untilServed(pause, each, limit time.Duration) (answer, error) {
	began := time.Now()
	served := make(chan time.Duration, 1)
	tries := 0
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		tries++
		go func() {
			connection, err := patient.connect(each)
			if err != nil {
				return
			}
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(each))
			if patient.small(connection) == nil {
				select {
				case served <- time.Since(began):
				default:
				}
			}
		}()
		select {
		case after := <-served:
			return answer{"seconds": after.Seconds(), "tries": tries}, nil
		case <-ticker.C:
		}
		if time.Since(began) > limit {
			return nil, errors.New("not served in time")
		}
	}
}

func main() {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	address := flags.String("address", "", "")
	name := flags.String("name", "", "")
	ca := flags.String("ca", "", "")
	pattern := flags.String("pattern", "", "")
	streams := flags.Int("streams", 1, "")
	size := flags.Int64("bytes", 1<<20, "")
	count := flags.Int("count", 1, "")
	warm := flags.Int("warm", 0, "")
	pause := flags.Duration("pause", 0, "")
	settle := flags.Duration("settle", 0, "")
	each := flags.Duration("each", 5*time.Second, "")
	limit := flags.Duration("limit", time.Minute, "")
	_ = flags.Parse(os.Args[2:])
	patient := &Patient{address: *address}
	err := func() error {
		authority, err := os.ReadFile(*ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(authority)
		patient.config = &tls.Config{ServerName: *name, RootCAs: roots, MinVersion: tls.VersionTLS13}
		if patient.pattern, err = os.ReadFile(*pattern); err != nil {
			return err
		}
		var said answer
		switch os.Args[1] {
		case "downloads":
			said = patient.downloads(*streams, *size, *limit)
		case "requests":
			said, err = patient.requests(*count, *warm, *pause, *limit)
		case "connects":
			said, err = patient.connects(*count, *pause, *limit)
		case "beside":
			said, err = patient.beside(*streams, *count, *settle, *pause, *limit)
		case "stalled":
			return patient.stalled(*streams, *limit)
		case "until-served":
			said, err = patient.untilServed(*pause, *each, *limit)
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(said)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}
