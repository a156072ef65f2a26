/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A without a wire. There is no baud rate: what is written to THR has
 * left before the instruction ends, so LSR always says "empty", and the THRE
 * interrupt (re)appears with every byte.
 *
 * Interrupts. One line, level-triggered in the chip: up while IIR has a cause
 * to show. Pin 4 of a PC's I/O APIC sees only its edges; that works because a
 * driver reads IIR until no cause is left, when the line is down again.
 * There is no character time either: a FIFO that holds less than its trigger
 * level reports the character timeout at once instead of four characters later.
 *
 * Input is never dropped. On a real wire, bytes that come while no driver
 * listens are lost, and each FIFO reset loses up to 16 (Linux resets the FIFO
 * on open and on each change of settings). Our wire can wait instead:
 *
 *  - receive() takes bytes only from a guest that listens: it has enabled
 *    receiver interrupts, or it polls LSR again and again without sending;
 *  - a FIFO reset throws away what the loopback put there, but not what the
 *    host sent: to the guest that looks as if the bytes came a moment later.
 *
 * MCR.OUT2 does not gate the interrupt as it does on a PC's board: machines
 * that guests are made for do not insist on it.
 */
#include "devices/serial/uart16550.h"

#include "devices/byte_lanes.h"

#include <errno.h>
#include <string.h>

/* Offsets; the first two are the divisor latch while LCR.DLAB is set. */
enum { RBR_THR = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

enum { IER_ERBFI = 1, IER_ETBEI = 2, IER_ELSI = 4, IER_EDSSI = 8, IER_BITS = 0x0f };

enum {
	IIR_MODEM = 0x00,
	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO = 0xc0
};

enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_KEPT = 0xc9 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10, MCR_BITS = 0x1f };

enum {
	LSR_DR = 0x01,
	LSR_OE = 0x02,
	LSR_PE = 0x04,
	LSR_FE = 0x08,
	LSR_BI = 0x10,
	LSR_THRE = 0x20,
	LSR_TEMT = 0x40,
	LSR_FIFO_ERROR = 0x80,
	LSR_CHAR_ERRORS = LSR_PE | LSR_FE | LSR_BI
};

enum { MSR_TERI = 0x04, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

/* A driver that waits for the transmitter reads LSR once or twice between two
 * bytes; one that waits for input does so for ever. */
enum { POLLS_THAT_LISTEN = 64 };

static bool fifo_on(const struct uart16550 *u)
{
	return u->fcr & FCR_ENABLE;
}

static unsigned trigger_level(const struct uart16550 *u)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return fifo_on(u) ? levels[u->fcr >> 6] : 1;
}

static unsigned capacity(const struct uart16550 *u)
{
	return fifo_on(u) ? UART16550_FIFO : 1;
}

static bool guest_listens(const struct uart16550 *u)
{
	return !(u->mcr & MCR_LOOP) && (u->ier & IER_ERBFI || u->idle_polls >= POLLS_THAT_LISTEN);
}

static uint8_t line_status(const struct uart16550 *u)
{
	uint8_t lsr = LSR_THRE | LSR_TEMT;

	if (u->overrun)
		lsr |= LSR_OE;
	if (!u->n_rx)
		return lsr;
	lsr |= LSR_DR | u->rx[0].lsr;
	for (unsigned i = 0; i < u->n_rx && fifo_on(u); i++)
		if (u->rx[i].lsr)
			lsr |= LSR_FIFO_ERROR;
	return lsr;
}

/* Loopback feeds the modem outputs back into the inputs; otherwise the other
 * end is always there and ready. */
static uint8_t modem_lines(const struct uart16550 *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

/* The causes in the order of their priority. */
static uint8_t interrupt_cause(const struct uart16550 *u)
{
	if (u->ier & IER_ELSI && line_status(u) & (LSR_OE | LSR_CHAR_ERRORS))
		return IIR_LINE;
	if (u->ier & IER_ERBFI && u->n_rx)
		return u->n_rx >= trigger_level(u) ? IIR_RX : IIR_TIMEOUT;
	if (u->ier & IER_ETBEI && u->thre_pending)
		return IIR_THRE;
	if (u->ier & IER_EDSSI && u->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_line(struct uart16550 *u)
{
	bool level = interrupt_cause(u) != IIR_NONE;

	if (level == u->line)
		return;
	u->line = level;
	irq_line_set(&u->irq, level);
}

/* --- the receiver ------------------------------------------------------------ */

static void push_rx(struct uart16550 *u, uint8_t data, uint8_t lsr, bool looped)
{
	/* Only the loopback can overrun: the host is held back. */
	if (u->n_rx >= capacity(u)) {
		u->overrun = true;
		return;
	}
	u->rx[u->n_rx++] = (struct uart16550_char){data, lsr, looped};
}

static uint8_t pop_rx(struct uart16550 *u)
{
	uint8_t data = u->rx[0].data;

	if (!u->n_rx)
		return 0;
	u->n_rx--;
	memmove(u->rx, u->rx + 1, u->n_rx * sizeof(u->rx[0]));
	return data;
}

static void reset_rx_fifo(struct uart16550 *u)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < u->n_rx; i++)
		if (!u->rx[i].looped)
			u->rx[kept++] = u->rx[i];
	u->n_rx = kept;
}

/* Under the lock: is it time to tell a host that was turned away? An empty
 * FIFO rather than one free place: it will send as many as fit. */
static bool take_room_call(struct uart16550 *u)
{
	if (!u->host_waits || u->n_rx || !guest_listens(u))
		return false;
	u->host_waits = false;
	return true;
}

size_t uart16550_receive(void *dev, const uint8_t *bytes, size_t len)
{
	struct uart16550 *u = dev;
	size_t taken = 0;

	pthread_mutex_lock(&u->lock);
	if (guest_listens(u))
		while (taken < len && u->n_rx < capacity(u))
			push_rx(u, bytes[taken++], 0, false);
	if (taken < len)
		u->host_waits = true;
	update_line(u);
	pthread_mutex_unlock(&u->lock);
	return taken;
}

bool uart16550_receive_break(void *dev)
{
	struct uart16550 *u = dev;

	pthread_mutex_lock(&u->lock);
	bool taken = guest_listens(u) && u->n_rx < capacity(u);

	if (taken)
		push_rx(u, 0, LSR_BI, false);
	else
		u->host_waits = true;
	update_line(u);
	pthread_mutex_unlock(&u->lock);
	return taken;
}

/* --- registers --------------------------------------------------------------- */

static void write_thr(struct uart16550 *u, uint8_t val)
{
	u->idle_polls = 0;
	u->thre_pending = true;
	if (u->mcr & MCR_LOOP)
		push_rx(u, val, 0, true);
	else if (u->out.send)
		u->out.send(u->out.ctx, &val, 1);
}

static void write_ier(struct uart16550 *u, uint8_t val)
{
	/* Enabling the interrupt of an empty transmitter raises it at once; Linux
	 * tests for that and falls back to a timer without it. */
	if (val & ~u->ier & IER_ETBEI)
		u->thre_pending = true;
	u->ier = val & IER_BITS;
}

static void write_fcr(struct uart16550 *u, uint8_t val)
{
	/* Other bits count only together with the enable bit, and switching the
	 * FIFOs on or off resets them. */
	if ((val ^ u->fcr) & FCR_ENABLE || (val & FCR_ENABLE && val & FCR_CLEAR_RX))
		reset_rx_fifo(u);
	u->fcr = val & FCR_ENABLE ? val & FCR_KEPT : 0;
}

static void write_lcr(struct uart16550 *u, uint8_t val)
{
	/* A break that is looped back arrives as one character of zeroes. */
	if (val & ~u->lcr & LCR_BREAK && u->mcr & MCR_LOOP)
		push_rx(u, 0, LSR_BI | LSR_FE, true);
	u->lcr = val;
}

static void write_mcr(struct uart16550 *u, uint8_t val)
{
	uint8_t before = modem_lines(u);

	u->mcr = val & MCR_BITS;
	uint8_t changed = before ^ modem_lines(u);

	/* RI reports only its trailing edge. */
	if (!(before & MSR_RI))
		changed &= ~MSR_RI;
	u->msr_delta |= changed >> 4;
}

static uint8_t read_iir(struct uart16550 *u)
{
	uint8_t iir = interrupt_cause(u);

	if (iir == IIR_THRE)
		u->thre_pending = false;
	return iir | (fifo_on(u) ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart16550 *u)
{
	uint8_t lsr = line_status(u);

	u->overrun = false;
	if (u->n_rx)
		u->rx[0].lsr = 0;
	else if (u->idle_polls < POLLS_THAT_LISTEN)
		u->idle_polls++;
	return lsr;
}

static uint8_t read_register(struct uart16550 *u, uint64_t off)
{
	uint8_t val;

	switch (off) {
	case RBR_THR:
		return u->lcr & LCR_DLAB ? u->dll : pop_rx(u);
	case IER:
		return u->lcr & LCR_DLAB ? u->dlm : u->ier;
	case IIR_FCR:
		return read_iir(u);
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		return read_lsr(u);
	case MSR:
		val = modem_lines(u) | u->msr_delta;
		u->msr_delta = 0;
		return val;
	case SCR:
		return u->scr;
	default:
		return 0xff;
	}
}

static void write_register(struct uart16550 *u, uint64_t off, uint8_t val)
{
	switch (off) {
	case RBR_THR:
		if (u->lcr & LCR_DLAB)
			u->dll = val;
		else
			write_thr(u, val);
		break;
	case IER:
		if (u->lcr & LCR_DLAB)
			u->dlm = val;
		else
			write_ier(u, val);
		break;
	case IIR_FCR:
		write_fcr(u, val);
		break;
	case LCR:
		write_lcr(u, val);
		break;
	case MCR:
		write_mcr(u, val);
		break;
	case SCR:
		u->scr = val;
		break;
	default: /* LSR and MSR are the factory's to write */
		break;
	}
}

static uint8_t read8(void *dev, uint64_t off)
{
	struct uart16550 *u = dev;

	pthread_mutex_lock(&u->lock);
	uint8_t val = read_register(u, off);
	bool call = take_room_call(u);

	update_line(u);
	pthread_mutex_unlock(&u->lock);
	if (call && u->room.room)
		u->room.room(u->room.ctx);
	return val;
}

static void write8(void *dev, uint64_t off, uint8_t val)
{
	struct uart16550 *u = dev;

	pthread_mutex_lock(&u->lock);
	write_register(u, off, val);
	bool call = take_room_call(u);

	update_line(u);
	pthread_mutex_unlock(&u->lock);
	if (call && u->room.room)
		u->room.room(u->room.ctx);
}

static uint64_t uart16550_read(void *dev, uint64_t off, unsigned size)
{
	return byte_lanes_read(dev, off, size, read8);
}

static void uart16550_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	byte_lanes_write(dev, off, size, val, write8);
}

const struct io_ops uart16550_io_ops = {uart16550_read, uart16550_write};

/* --- life -------------------------------------------------------------------- */

/* The power-on values; DLL/DLM and SCR are undefined then, zero will do. */
static void set_power_on(struct uart16550 *u)
{
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->dll = u->dlm = u->msr_delta = 0;
	u->overrun = u->thre_pending = false;
	u->idle_polls = 0;
	u->n_rx = 0;
}

void uart16550_init(struct uart16550 *u, const struct irq_line *irq, const struct char_out *out,
		    const struct char_room *room)
{
	memset(u, 0, sizeof(*u));
	pthread_mutex_init(&u->lock, NULL);
	u->irq = *irq;
	u->out = *out;
	u->room = *room;
	set_power_on(u);
}

static void uart16550_reset(void *dev)
{
	struct uart16550 *u = dev;

	pthread_mutex_lock(&u->lock);
	set_power_on(u);
	update_line(u);
	pthread_mutex_unlock(&u->lock);
}

static void uart16550_fini(void *dev)
{
	struct uart16550 *u = dev;

	pthread_mutex_destroy(&u->lock);
}

static void uart16550_save(void *dev, struct state_writer *w)
{
	struct uart16550 *u = dev;

	pthread_mutex_lock(&u->lock);
	state_section_begin(w, "uart16550", 1);
	state_put_u8(w, u->ier);
	state_put_u8(w, u->fcr);
	state_put_u8(w, u->lcr);
	state_put_u8(w, u->mcr);
	state_put_u8(w, u->scr);
	state_put_u8(w, u->dll);
	state_put_u8(w, u->dlm);
	state_put_u8(w, u->msr_delta);
	state_put_bool(w, u->overrun);
	state_put_bool(w, u->thre_pending);
	state_put_bool(w, u->line);
	state_put_u8(w, (uint8_t)u->n_rx);
	for (unsigned i = 0; i < u->n_rx; i++) {
		state_put_u8(w, u->rx[i].data);
		state_put_u8(w, u->rx[i].lsr);
		state_put_bool(w, u->rx[i].looped);
	}
	state_section_end(w);
	pthread_mutex_unlock(&u->lock);
}

static bool plausible(const struct uart16550 *s)
{
	if (s->ier & ~IER_BITS || s->mcr & ~MCR_BITS || s->msr_delta & 0xf0 || s->fcr & ~FCR_KEPT ||
	    (s->fcr && !fifo_on(s)))
		return false;
	for (unsigned i = 0; i < s->n_rx; i++)
		if (s->rx[i].lsr & ~LSR_CHAR_ERRORS)
			return false;
	return s->line == (interrupt_cause(s) != IIR_NONE);
}

static int uart16550_load(void *dev, struct state_reader *r, struct err *e)
{
	struct uart16550 *u = dev, s = {0};
	int ret = state_section_expect(r, "uart16550", 1, e);

	if (ret)
		return ret;
	s.ier = state_get_u8(r);
	s.fcr = state_get_u8(r);
	s.lcr = state_get_u8(r);
	s.mcr = state_get_u8(r);
	s.scr = state_get_u8(r);
	s.dll = state_get_u8(r);
	s.dlm = state_get_u8(r);
	s.msr_delta = state_get_u8(r);
	s.overrun = state_get_bool(r);
	s.thre_pending = state_get_bool(r);
	s.line = state_get_bool(r);
	s.n_rx = state_get_u8(r);
	if (s.n_rx > UART16550_FIFO)
		return err_host(e, -EBADMSG, "saved state: uart16550 with an overfull FIFO");
	for (unsigned i = 0; i < s.n_rx; i++) {
		s.rx[i].data = state_get_u8(r);
		s.rx[i].lsr = state_get_u8(r);
		s.rx[i].looped = state_get_bool(r);
	}
	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (!plausible(&s))
		return err_host(e, -EBADMSG, "saved state: uart16550 that cannot be");

	/* The line's level is the interrupt controller's state as well: it is not
	 * set here, or a restored edge would count twice. */
	pthread_mutex_lock(&u->lock);
	u->ier = s.ier;
	u->fcr = s.fcr;
	u->lcr = s.lcr;
	u->mcr = s.mcr;
	u->scr = s.scr;
	u->dll = s.dll;
	u->dlm = s.dlm;
	u->msr_delta = s.msr_delta;
	u->overrun = s.overrun;
	u->thre_pending = s.thre_pending;
	u->line = s.line;
	u->idle_polls = 0;
	u->n_rx = s.n_rx;
	memcpy(u->rx, s.rx, sizeof(u->rx));
	pthread_mutex_unlock(&u->lock);
	return 0;
}

/* What waits at the host may have been turned away before the state was set. */
static void uart16550_resume(void *dev)
{
	struct uart16550 *u = dev;

	pthread_mutex_lock(&u->lock);
	bool call = take_room_call(u);

	pthread_mutex_unlock(&u->lock);
	if (call && u->room.room)
		u->room.room(u->room.ctx);
}

const struct device_ops uart16550_device_ops = {
	.reset = uart16550_reset,
	.resume = uart16550_resume,
	.save = uart16550_save,
	.load = uart16550_load,
	.fini = uart16550_fini,
};
