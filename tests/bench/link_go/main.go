// An emulated access line between two network namespaces: two TUN devices, a delay each way, a rate and a queue upward.
//
//	link -box NAME -net NAME -rate BITS_PER_S -delay 20ms -queue fair|fifo -queue-bytes N
//
// "box" is the practice's side; what it sends goes up. The queue is drained at the rate, then every packet is delayed.
// fair: one queue per connection, served in turn by bytes (deficit round robin), the longest drops when all are full, as
// a router with flow queueing does. fifo: one queue that drops at its end. Rate 0: no queue, the delay only.
// Commands on standard input, one a line, each answered "done":
//
//	cut, restore  nothing passes; everything passes again
//	forget        drop what belongs to a connection seen so far, as a router does that lost its table
//	reset         answer the next segment of each TCP connection seen so far with resets to both ends (RFC 9293, 3.10.7)
//	only PORT     nothing passes but to and from this port of the internet's side; 0: all ports
//	tls PORT      reset connections to this port whose first byte from the box begins no TLS record; 0: none
//
// What looks into TCP does so for IPv4. Says "ready" once both devices stand.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	mtu       = 1500
	quantum   = mtu
	tunSetIff = 0x400454ca
	iffTun    = 1
	iffNoPi   = 0x1000
)

func openTun(name string) (*os.File, error) {
	descriptor, err := syscall.Open("/dev/net/tun", syscall.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var request [40]byte
	copy(request[:15], name)
	binary.LittleEndian.PutUint16(request[16:], iffTun|iffNoPi)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(descriptor), tunSetIff, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return nil, errno
	}
	if err := syscall.SetNonblock(descriptor, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(descriptor), name), nil
}

// flow names a connection whatever the direction: IPv4 addresses, protocol and ports (RFC 791, RFC 9293).
type flow [13]byte

func flowOf(packet []byte, upward bool) flow {
	var key flow
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return key
	}
	header := int(packet[0]&15) * 4
	if len(packet) < header+4 {
		return key
	}
	key[0] = packet[9]
	if upward {
		copy(key[1:9], packet[12:20])
		copy(key[9:13], packet[header:header+4])
	} else {
		copy(key[1:5], packet[16:20])
		copy(key[5:9], packet[12:16])
		copy(key[9:11], packet[header+2:header+4])
		copy(key[11:13], packet[header:header+2])
	}
	return key
}

// portOf gives the port of the internet's side of a connection.
func portOf(key flow) int { return int(binary.BigEndian.Uint16(key[11:13])) }

const tcp, flagSyn, flagRst, flagAck = 6, 2, 4, 16

// segment is a TCP segment over IPv4: where its header begins, and its data.
func segment(packet []byte) (header int, data []byte) {
	if len(packet) < 40 || packet[0]>>4 != 4 || packet[9] != tcp {
		return 0, nil
	}
	header = int(packet[0]&15) * 4
	total := int(binary.BigEndian.Uint16(packet[2:4]))
	begins := header + int(packet[header+12]>>4)*4
	if total > len(packet) || begins > total {
		return 0, nil
	}
	return header, packet[begins:total]
}

// resets gives what a middle box answers a segment with: a reset to who sent it, and one to whom it was sent.
func resets(packet []byte, header int) (back, on []byte) {
	sequence, acknowledged := packet[header+4:header+8], packet[header+8:header+12]
	build := func(from, to, ports, number []byte) []byte {
		reset := append([]byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, tcp, 0, 0}, from...)
		reset = append(append(reset, to...), ports...)
		reset = append(append(reset, number...), 0, 0, 0, 0, 0x50, flagRst, 0, 0, 0, 0, 0, 0)
		binary.BigEndian.PutUint16(reset[10:], checksum(reset[:20], 0))
		binary.BigEndian.PutUint16(reset[36:], checksum(reset[20:], sum(reset[12:20])+tcp+20))
		return reset
	}
	source, target := packet[12:16], packet[16:20]
	ports := packet[header : header+4]
	swapped := []byte{ports[2], ports[3], ports[0], ports[1]}
	return build(target, source, swapped, acknowledged), build(source, target, ports, sequence)
}

func sum(words []byte) (total uint32) {
	for at := 0; at+1 < len(words); at += 2 {
		total += uint32(binary.BigEndian.Uint16(words[at:]))
	}
	return total
}

func checksum(words []byte, start uint32) uint16 {
	total := start + sum(words)
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return ^uint16(total)
}

// Filter is what the line lets through.
type Filter struct {
	sync.Mutex
	cut    bool
	only   int
	tls    int
	seen   map[flow]bool
	buried map[flow]bool
	reset  map[flow]bool
	judged map[flow]bool
}

// judge says whether a packet passes; if its connection is to be reset, it gives the resets back and on.
func (filter *Filter) judge(packet []byte, upward bool) (passes bool, back, on []byte) {
	key := flowOf(packet, upward)
	filter.Lock()
	defer filter.Unlock()
	if filter.cut || filter.buried[key] || (filter.only != 0 && portOf(key) != filter.only) {
		return false, nil, nil
	}
	filter.seen[key] = true
	header, data := segment(packet)
	if header == 0 || packet[header+13]&(flagSyn|flagRst) != 0 {
		return true, nil, nil
	}
	if upward && len(data) > 0 && filter.tls != 0 && portOf(key) == filter.tls && !filter.judged[key] {
		filter.judged[key] = true
		filter.reset[key] = data[0] != 22 // handshake (RFC 8446, 5.1)
	}
	if filter.reset[key] && packet[header+13]&flagAck != 0 {
		back, on = resets(packet, header)
		return false, back, on
	}
	return true, nil, nil
}

func (filter *Filter) command(line string) {
	filter.Lock()
	defer filter.Unlock()
	word, port := line, 0
	_, _ = fmt.Sscanf(line, "%s %d", &word, &port) // no port: 0
	switch word {
	case "only":
		filter.only = port
	case "tls":
		filter.tls = port
	case "reset":
		for key := range filter.seen {
			filter.reset[key] = true
		}
	case "cut":
		filter.cut = true
	case "restore":
		filter.cut = false
	case "forget":
		for key := range filter.seen {
			filter.buried[key] = true
		}
		filter.seen = map[flow]bool{}
	}
}

// queued is the packets of one connection.
type queued struct {
	packets [][]byte
	bytes   int
	deficit int
}

// Queue holds what waits for the line.
type Queue struct {
	sync.Mutex
	fair  bool
	limit int
	bytes int
	flows map[flow]*queued
	turns []flow
	wake  chan struct{}
}

func (queue *Queue) put(packet []byte) {
	queue.Lock()
	defer queue.Unlock()
	var key flow
	if queue.fair {
		key = flowOf(packet, true)
	}
	if queue.bytes+len(packet) > queue.limit {
		if !queue.fair {
			return
		}
		longest, most := key, -1
		for other, waiting := range queue.flows {
			if waiting.bytes > most {
				longest, most = other, waiting.bytes
			}
		}
		if waiting := queue.flows[longest]; waiting != nil && len(waiting.packets) > 0 {
			gone := waiting.packets[0]
			waiting.packets = waiting.packets[1:]
			waiting.bytes -= len(gone)
			queue.bytes -= len(gone)
		}
	}
	waiting := queue.flows[key]
	if waiting == nil {
		waiting = &queued{deficit: quantum}
		queue.flows[key] = waiting
		queue.turns = append([]flow{key}, queue.turns...) // who has nothing waiting goes first (RFC 8290)
	}
	waiting.packets = append(waiting.packets, packet)
	waiting.bytes += len(packet)
	queue.bytes += len(packet)
	select {
	case queue.wake <- struct{}{}:
	default:
	}
}

func (queue *Queue) take() []byte {
	queue.Lock()
	defer queue.Unlock()
	for len(queue.turns) > 0 {
		key := queue.turns[0]
		waiting := queue.flows[key]
		if len(waiting.packets) == 0 {
			queue.turns = queue.turns[1:]
			delete(queue.flows, key)
			continue
		}
		packet := waiting.packets[0]
		if waiting.deficit < len(packet) && len(queue.turns) > 1 {
			waiting.deficit += quantum
			queue.turns = append(queue.turns[1:], key)
			continue
		}
		waiting.deficit -= len(packet)
		if waiting.deficit < 0 {
			waiting.deficit = 0
		}
		waiting.packets = waiting.packets[1:]
		waiting.bytes -= len(packet)
		queue.bytes -= len(packet)
		return packet
	}
	return nil
}

type delayed struct {
	at     time.Time
	packet []byte
}

// deliver writes each packet when its time has come.
func deliver(line <-chan delayed, target *os.File) {
	for one := range line {
		if wait := time.Until(one.at); wait > 0 {
			time.Sleep(wait)
		}
		_, _ = target.Write(one.packet) // a device that is down or full loses it, as a line does
	}
}

func receive(source *os.File, take func([]byte)) {
	buffer := make([]byte, 65536)
	for {
		count, err := source.Read(buffer)
		if err != nil {
			return
		}
		take(append([]byte(nil), buffer[:count]...))
	}
}

// drain sends what waits at the rate: a packet leaves when the line has carried the one before it.
func drain(queue *Queue, rate float64, send func([]byte, time.Time)) {
	free := time.Now()
	for {
		packet := queue.take()
		if packet == nil {
			<-queue.wake
			if now := time.Now(); free.Before(now) {
				free = now
			}
			continue
		}
		free = free.Add(time.Duration(float64(len(packet)*8) / rate * 1e9))
		if wait := time.Until(free); wait > time.Millisecond { // finer than the clock that wakes us is not to be had
			time.Sleep(wait)
		}
		send(packet, free)
	}
}

func main() {
	box := flag.String("box", "", "")
	internet := flag.String("net", "", "")
	rate := flag.Float64("rate", 0, "")
	delay := flag.Duration("delay", 0, "")
	discipline := flag.String("queue", "fair", "")
	limit := flag.Int("queue-bytes", 200_000, "")
	flag.Parse()
	inside, err := openTun(*box)
	if err == nil {
		var outside *os.File
		if outside, err = openTun(*internet); err == nil {
			run(inside, outside, *rate, *delay, *discipline == "fair", *limit)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "link:", err)
	os.Exit(1)
}

func run(inside, outside *os.File, rate float64, delay time.Duration, fair bool, limit int) {
	filter := &Filter{seen: map[flow]bool{}, buried: map[flow]bool{}, reset: map[flow]bool{}, judged: map[flow]bool{}}
	up, down := make(chan delayed, 1<<16), make(chan delayed, 1<<16)
	go deliver(up, outside)
	go deliver(down, inside)
	send := func(packet []byte, at time.Time) { up <- delayed{at.Add(delay), packet} }
	queue := &Queue{fair: fair, limit: limit, flows: map[flow]*queued{}, wake: make(chan struct{}, 1)}
	if rate > 0 {
		go drain(queue, rate, send)
	}
	go receive(inside, func(packet []byte) {
		passes, back, on := filter.judge(packet, true)
		if back != nil {
			down <- delayed{time.Now().Add(delay), back}
			send(on, time.Now())
		}
		if !passes {
			return
		}
		if rate > 0 {
			queue.put(packet)
		} else {
			send(packet, time.Now())
		}
	})
	go receive(outside, func(packet []byte) {
		passes, back, on := filter.judge(packet, false)
		if back != nil {
			send(back, time.Now())
			down <- delayed{time.Now().Add(delay), on}
		}
		if passes {
			down <- delayed{time.Now().Add(delay), packet}
		}
	})
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		filter.command(lines.Text())
		fmt.Println("done")
	}
}
