/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues [virtio 1.3 5.3.2]: 0 and 1 are port 0's, to the guest and from it; with
 * MULTIPORT 2 and 3 are the control queues, and port i has 2i + 2 and 2i + 3.
 *
 * To the guest. Bytes wait in the port's FIFO, and a buffer is taken from the queue
 * only when there is something to put into it: between two calls nothing is in flight,
 * so a pause has nothing to wait for. Whoever was turned away hears of room when the
 * FIFO is empty.
 *
 * Flow of a port with MULTIPORT: the driver says DEVICE_READY and is told of each port;
 * says PORT_READY and is told the port's nature, its name and that the host is there. A
 * console is fed from then on; a plain port once a program in the guest has opened it,
 * for Linux throws away what comes before.
 */
#include "devices/virtio/console.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { RX = 0, TX = 1, CONTROL_RX = 2, CONTROL_TX = 3 };
enum { QUEUE_SIZE = 64, CONTROL_LEN = 8, PIECE = 4096 };

/* Control messages that a port's driver has yet to get, in this order. */
enum owed {
	OWED_ADD = 1 << 0,
	OWED_CONSOLE = 1 << 1,
	OWED_NAME = 1 << 2,
	OWED_OPEN = 1 << 3,
	OWED_RESIZE = 1 << 4,
	OWED_ALL = (1 << 5) - 1,
};

static unsigned queue_count(unsigned n_ports)
{
	return n_ports == 1 ? 2 : 2 * n_ports + 2;
}

static unsigned rx_queue(unsigned port)
{
	return port ? 2 * port + 2 : RX;
}

/* Of a data queue. */
static unsigned port_of(unsigned queue)
{
	return queue < CONTROL_RX ? 0 : queue / 2 - 1;
}

static bool multiport(const struct virtio_console *c)
{
	return c->v.features & VIRTIO_CONSOLE_F_MULTIPORT;
}

/* --- from the guest -------------------------------------------------------------- */

static void send_out(struct virtio_console *c, unsigned port, const uint8_t *bytes, size_t len)
{
	const struct char_out *out = &c->ports[port].wire.out;

	pthread_mutex_lock(&c->lock);
	if (out->send)
		out->send(out->ctx, bytes, len);
	pthread_mutex_unlock(&c->lock);
}

static void transmit(struct virtio_console *c, unsigned queue)
{
	uint8_t bytes[PIECE];
	unsigned taken = 0;

	while (virtio_pop(&c->v, queue, &taken, &c->chain)) {
		uint64_t off = 0;
		size_t n;

		/* The same page a million times over is no output that anybody waits for. */
		if (c->chain.read_len > VIRTIO_CONSOLE_CHAIN_MAX) {
			off = c->chain.read_len - VIRTIO_CONSOLE_CHAIN_MAX;
			log_guest(&c->complaints, "%s: %lu bytes in one chain; only the end counts",
				  c->v.name, c->chain.read_len);
		}
		while ((n = virtq_chain_read(&c->chain, off, bytes, sizeof(bytes)))) {
			send_out(c, port_of(queue), bytes, n);
			off += n;
		}
		virtq_push(&c->v.queues[queue], c->chain.head, 0);
	}
	virtio_publish(&c->v, queue);
}

/* --- to the guest ---------------------------------------------------------------- */

/* Would the driver keep what it gets? */
static bool listens(const struct virtio_console *c, const struct virtio_console_port *p)
{
	if (!multiport(c))
		return p == c->ports;
	return p->ready && (p->wire.is_console || p->open);
}

/* Take up to `len` bytes out of the FIFO. */
static size_t take(struct virtio_console_port *p, uint8_t *to, uint64_t len)
{
	pthread_mutex_lock(&p->console->lock);
	size_t n = p->n_fifo < len ? p->n_fifo : (size_t)len;

	memcpy(to, p->fifo, n);
	p->n_fifo -= n;
	memmove(p->fifo, p->fifo + n, p->n_fifo);
	pthread_mutex_unlock(&p->console->lock);
	return n;
}

static bool has_input(struct virtio_console_port *p)
{
	pthread_mutex_lock(&p->console->lock);
	bool some = p->n_fifo;

	pthread_mutex_unlock(&p->console->lock);
	return some;
}

static void call_room(struct virtio_console_port *p)
{
	pthread_mutex_lock(&p->console->lock);
	bool call = p->host_waits && !p->n_fifo;

	if (call)
		p->host_waits = false;
	pthread_mutex_unlock(&p->console->lock);
	if (call && p->wire.room.room)
		p->wire.room.room(p->wire.room.ctx);
}

static void feed(struct virtio_console *c, unsigned port)
{
	struct virtio_console_port *p = &c->ports[port];
	unsigned queue = rx_queue(port), taken = 0;
	uint8_t bytes[VIRTIO_CONSOLE_FIFO];

	while (listens(c, p) && has_input(p) && virtio_pop(&c->v, queue, &taken, &c->chain)) {
		if (!c->chain.write_len) {
			virtio_fail(&c->v, "a buffer for input that cannot be written");
			break;
		}
		size_t n = take(p, bytes, c->chain.write_len);

		virtq_chain_write(&c->chain, c->v.gm, 0, bytes, n);
		virtq_push(&c->v.queues[queue], c->chain.head, (uint32_t)n);
	}
	virtio_publish(&c->v, queue);
	call_room(p);
}

size_t virtio_console_receive(void *dev, const uint8_t *bytes, size_t len)
{
	struct virtio_console_port *p = dev;
	struct virtio_console *c = p->console;

	pthread_mutex_lock(&c->lock);
	size_t room = VIRTIO_CONSOLE_FIFO - p->n_fifo;
	size_t taken = len < room ? len : room;

	memcpy(p->fifo + p->n_fifo, bytes, taken);
	p->n_fifo += taken;
	if (taken < len)
		p->host_waits = true;
	pthread_mutex_unlock(&c->lock);
	/* As if the guest had rung for its receive queue: the loop looks. */
	if (taken)
		virtio_kick(&c->v, rx_queue((unsigned)(p - c->ports)));
	return taken;
}

/* --- control messages ------------------------------------------------------------- */

/* Write the message that `bit` stands for; gives its length. */
static size_t put_message(struct virtio_console *c, unsigned port, uint8_t bit, uint8_t *to)
{
	static const struct {
		uint8_t bit;
		uint16_t event, value;
	} events[] = {
		{OWED_ADD, VIRTIO_CONSOLE_DEVICE_ADD, 0},
		{OWED_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT, 1},
		{OWED_NAME, VIRTIO_CONSOLE_PORT_NAME, 1},
		{OWED_OPEN, VIRTIO_CONSOLE_PORT_OPEN, 1},
		{OWED_RESIZE, VIRTIO_CONSOLE_RESIZE, 0},
	};
	const struct virtio_console_port *p = &c->ports[port];
	size_t len = CONTROL_LEN;
	unsigned i = 0;

	while (events[i].bit != bit)
		i++;
	le32_put(to, port);
	le16_put(to + 4, events[i].event);
	le16_put(to + 6, events[i].value);
	if (bit == OWED_NAME) {
		size_t n = strnlen(p->wire.name, VIRTIO_CONSOLE_NAME_MAX);

		memcpy(to + len, p->wire.name, n); /* without a NUL */
		len += n;
	} else if (bit == OWED_RESIZE) {
		pthread_mutex_lock(&c->lock);
		le16_put(to + len, p->cols);
		le16_put(to + len + 2, p->rows);
		pthread_mutex_unlock(&c->lock);
		len += 4;
	}
	return len;
}

static bool wants_size(const struct virtio_console *c, const struct virtio_console_port *p)
{
	return p->ready && p->wire.is_console && c->v.features & VIRTIO_CONSOLE_F_SIZE;
}

/* Send what is owed, as far as there are buffers. */
static void send_control(struct virtio_console *c)
{
	uint8_t message[CONTROL_LEN + VIRTIO_CONSOLE_NAME_MAX];
	unsigned taken = 0;

	for (unsigned port = 0; port < c->n_ports; port++) {
		struct virtio_console_port *p = &c->ports[port];

		for (uint8_t bit = 1; bit & OWED_ALL; bit <<= 1) {
			/* Sizes are for drivers that know the port and want to hear of them;
			 * others learn it when they do. */
			if (bit == OWED_RESIZE && !wants_size(c, p))
				p->owed &= (uint8_t)~bit;
			if (!(p->owed & bit))
				continue;
			if (!virtio_pop(&c->v, CONTROL_RX, &taken, &c->chain))
				goto out;
			p->owed &= (uint8_t)~bit;
			size_t len = put_message(c, port, bit, message);

			if (c->chain.write_len < len) {
				virtio_fail(&c->v, "a buffer too small for a control message");
				goto out;
			}
			virtq_chain_write(&c->chain, c->v.gm, 0, message, len);
			virtq_push(&c->v.queues[CONTROL_RX], c->chain.head, (uint32_t)len);
		}
	}
out:
	virtio_publish(&c->v, CONTROL_RX);
}

static void on_port_ready(struct virtio_console *c, struct virtio_console_port *p, bool ready)
{
	p->ready = ready;
	if (!ready)
		return;
	p->owed |= OWED_OPEN;
	if (p->wire.is_console)
		p->owed |= OWED_CONSOLE;
	if (p->wire.name)
		p->owed |= OWED_NAME;
	pthread_mutex_lock(&c->lock);
	if (p->cols)
		p->owed |= OWED_RESIZE;
	pthread_mutex_unlock(&c->lock);
}

static void on_control(struct virtio_console *c, uint32_t port, uint16_t event, uint16_t value)
{
	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		if (!value)
			log_guest(&c->complaints, "%s: the guest's driver gave up", c->v.name);
		for (unsigned i = 0; value && i < c->n_ports; i++)
			c->ports[i].owed |= OWED_ADD;
	} else if (port >= c->n_ports) {
		log_guest(&c->complaints, "%s: a control message about port %u, which is not there",
			  c->v.name, port);
	} else if (event == VIRTIO_CONSOLE_PORT_READY) {
		on_port_ready(c, &c->ports[port], value);
	} else if (event == VIRTIO_CONSOLE_PORT_OPEN) {
		c->ports[port].open = value;
	} else {
		log_guest(&c->complaints, "%s: a control message of kind %u", c->v.name, event);
	}
	if (port < c->n_ports)
		feed(c, port);
}

static void receive_control(struct virtio_console *c)
{
	uint8_t m[CONTROL_LEN];
	unsigned taken = 0;

	while (virtio_pop(&c->v, CONTROL_TX, &taken, &c->chain)) {
		uint16_t head = c->chain.head;

		if (virtq_chain_read(&c->chain, 0, m, sizeof(m)) < sizeof(m)) {
			virtio_fail(&c->v, "a control message cut short");
			break;
		}
		virtq_push(&c->v.queues[CONTROL_TX], head, 0);
		on_control(c, le32_get(m), le16_get(m + 4), le16_get(m + 6));
	}
	virtio_publish(&c->v, CONTROL_TX);
	send_control(c);
}

/* Only with MULTIPORT has a queue behind the first two a meaning. */
static void queue_ready(void *dev, unsigned index)
{
	struct virtio_console *c = dev;

	if (index > TX && !multiport(c))
		return;
	if (index == CONTROL_RX)
		send_control(c);
	else if (index == CONTROL_TX)
		receive_control(c);
	else if (index % 2)
		transmit(c, index);
	else
		feed(c, port_of(index));
}

/* --- configuration space ----------------------------------------------------------- */

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	struct virtio_console *c = dev;
	uint8_t space[VIRTIO_CONSOLE_CFG_LEN] = {0};
	uint64_t val = 0;

	pthread_mutex_lock(&c->lock);
	le16_put(space + VIRTIO_CONSOLE_CFG_COLS, c->ports[0].cols);
	le16_put(space + VIRTIO_CONSOLE_CFG_ROWS, c->ports[0].rows);
	pthread_mutex_unlock(&c->lock);
	le32_put(space + VIRTIO_CONSOLE_CFG_MAX_NR_PORTS, c->n_ports);
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)space[off + i] << 8 * i;
	return val;
}

/* One character, at any time: before the queues are there, or when all else fails. */
static void config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	uint8_t byte = (uint8_t)val;

	if (off == VIRTIO_CONSOLE_CFG_EMERG_WR)
		send_out(dev, 0, &byte, 1);
}

void virtio_console_resize(struct virtio_console *c, unsigned port, uint16_t cols, uint16_t rows)
{
	struct virtio_console_port *p = &c->ports[port];

	pthread_mutex_lock(&c->lock);
	bool changed = p->cols != cols || p->rows != rows;

	p->cols = cols;
	p->rows = rows;
	pthread_mutex_unlock(&c->lock);
	if (!changed)
		return;
	if (c->n_ports > 1) {
		/* The loop finds the driver's queues, or that there is no such driver. */
		p->owed |= OWED_RESIZE;
		virtio_kick(&c->v, CONTROL_RX);
	}
	/* A driver that took no MULTIPORT looks into the configuration space. */
	if (!port)
		virtio_notify_config(&c->v);
}

/* --- life -------------------------------------------------------------------------- */

/* Linux reads the size of a lone port only when it hears of a change: the first one is
 * from no size at all. */
static void started(void *dev, unsigned lane)
{
	struct virtio_console *c = dev;

	pthread_mutex_lock(&c->lock);
	bool sized = c->ports[0].cols && c->ports[0].rows;

	pthread_mutex_unlock(&c->lock);
	if (sized && c->v.features & VIRTIO_CONSOLE_F_SIZE &&
	    !(c->v.features & VIRTIO_CONSOLE_F_MULTIPORT))
		virtio_notify_config(&c->v);
}

/* What was typed stays: the next driver gets it. */
static void reset(void *dev)
{
	struct virtio_console *c = dev;

	for (unsigned i = 0; i < c->n_ports; i++) {
		c->ports[i].ready = c->ports[i].open = false;
		c->ports[i].owed = 0;
	}
}

static void save(void *dev, struct state_writer *w)
{
	struct virtio_console *c = dev;

	pthread_mutex_lock(&c->lock);
	state_put_u8(w, (uint8_t)c->n_ports);
	for (unsigned i = 0; i < c->n_ports; i++) {
		const struct virtio_console_port *p = &c->ports[i];

		state_put_u16(w, p->cols);
		state_put_u16(w, p->rows);
		state_put_u8(w, p->owed);
		state_put_bool(w, p->ready);
		state_put_bool(w, p->open);
		state_put_u16(w, (uint16_t)p->n_fifo);
		state_put_bytes(w, p->fifo, p->n_fifo);
	}
	pthread_mutex_unlock(&c->lock);
}

/* How much input waits; false for what cannot be. */
static bool load_port(struct virtio_console_port *p, struct state_reader *r)
{
	p->cols = state_get_u16(r);
	p->rows = state_get_u16(r);
	p->owed = state_get_u8(r);
	p->ready = state_get_bool(r);
	p->open = state_get_bool(r);
	p->n_fifo = state_get_u16(r);
	if (r->error || p->owed & ~OWED_ALL || p->n_fifo > sizeof(p->fifo))
		return false;
	state_get_bytes(r, p->fifo, p->n_fifo);
	return !r->error;
}

static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_console *c = dev;
	struct virtio_console_port ports[VIRTIO_CONSOLE_PORTS_MAX];
	bool good = state_get_u8(r) == c->n_ports;

	for (unsigned i = 0; i < c->n_ports && good; i++) {
		good = load_port(&ports[i], r);
		/* A name is only owed where there is one. */
		if (good && ports[i].owed & OWED_NAME && !c->ports[i].wire.name)
			good = false;
	}
	if (!good)
		return err_host(e, -EBADMSG, "saved state: %s: not of this console", c->v.name);
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->n_ports; i++) {
		struct virtio_console_port *p = &c->ports[i];

		p->cols = ports[i].cols;
		p->rows = ports[i].rows;
		p->owed = ports[i].owed;
		p->ready = ports[i].ready;
		p->open = ports[i].open;
		p->n_fifo = ports[i].n_fifo;
		memcpy(p->fifo, ports[i].fifo, p->n_fifo);
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_CONSOLE,
	.config_read = config_read,
	.config_write = config_write,
	.started = started,
	.queue_ready = queue_ready,
	.reset = reset,
	.save = save,
	.load = load,
};

int virtio_console_init(struct virtio_console *c, const char *name,
			const struct virtio_console_wire *wires, unsigned n_ports,
			struct guest_mem *gm, struct loop *loop)
{
	uint64_t features = VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_EMERG_WRITE;
	uint16_t sizes[VIRTIO_QUEUES_MAX];

	assert(n_ports && n_ports <= VIRTIO_CONSOLE_PORTS_MAX);
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->n_ports = n_ports;
	for (unsigned i = 0; i < n_ports; i++) {
		c->ports[i].console = c;
		c->ports[i].wire = wires[i];
	}
	for (unsigned i = 0; i < queue_count(n_ports); i++)
		sizes[i] = QUEUE_SIZE;
	if (n_ports > 1)
		features |= VIRTIO_CONSOLE_F_MULTIPORT;
	return virtio_init(&c->v, &ops, c, name, gm, loop, features, VIRTIO_CONSOLE_CFG_LEN,
			   queue_count(n_ports), sizes);
}

void virtio_console_fini(struct virtio_console *c)
{
	virtio_fini(&c->v);
	if (c->n_ports)
		pthread_mutex_destroy(&c->lock);
	c->n_ports = 0;
}
