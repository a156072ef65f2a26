/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/arch/x86_64/regs_state.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, MSRS_MAX = 1024, XSAVE_MIN = sizeof(struct kvm_xsave), XSAVE_MAX = 1 << 20 };

#define MSR_TSC          0x10u
#define MSR_TSC_DEADLINE 0x6e0u

/* --- KVM's structures, field by field ------------------------------------------------------- */

struct field {
	size_t at;
	unsigned size; /* bytes: 1, 2, 4, 8 */
};

#define FIELD(type, name)                                       \
	{                                                       \
		offsetof(type, name), sizeof(((type *)0)->name) \
	}
#define SEGMENT(name)                                                                       \
	FIELD(struct kvm_sregs, name.base), FIELD(struct kvm_sregs, name.limit),            \
		FIELD(struct kvm_sregs, name.selector), FIELD(struct kvm_sregs, name.type), \
		FIELD(struct kvm_sregs, name.present), FIELD(struct kvm_sregs, name.dpl),   \
		FIELD(struct kvm_sregs, name.db), FIELD(struct kvm_sregs, name.s),          \
		FIELD(struct kvm_sregs, name.l), FIELD(struct kvm_sregs, name.g),           \
		FIELD(struct kvm_sregs, name.avl), FIELD(struct kvm_sregs, name.unusable)
#define REG(name)   FIELD(struct kvm_regs, name)
#define SREG(name)  FIELD(struct kvm_sregs, name)
#define EVENT(name) FIELD(struct kvm_vcpu_events, name)

static const struct field regs_fields[] = {
	REG(rax), REG(rbx), REG(rcx), REG(rdx), REG(rsi), REG(rdi), REG(rsp), REG(rbp), REG(r8),
	REG(r9),  REG(r10), REG(r11), REG(r12), REG(r13), REG(r14), REG(r15), REG(rip), REG(rflags),
};

static const struct field sregs_fields[] = {
	SEGMENT(cs),
	SEGMENT(ds),
	SEGMENT(es),
	SEGMENT(fs),
	SEGMENT(gs),
	SEGMENT(ss),
	SEGMENT(tr),
	SEGMENT(ldt),
	SREG(gdt.base),
	SREG(gdt.limit),
	SREG(idt.base),
	SREG(idt.limit),
	SREG(cr0),
	SREG(cr2),
	SREG(cr3),
	SREG(cr4),
	SREG(cr8),
	SREG(efer),
	SREG(apic_base),
	SREG(interrupt_bitmap[0]),
	SREG(interrupt_bitmap[1]),
	SREG(interrupt_bitmap[2]),
	SREG(interrupt_bitmap[3]),
};

static const struct field debug_fields[] = {
	FIELD(struct kvm_debugregs, db[0]), FIELD(struct kvm_debugregs, db[1]),
	FIELD(struct kvm_debugregs, db[2]), FIELD(struct kvm_debugregs, db[3]),
	FIELD(struct kvm_debugregs, dr6),   FIELD(struct kvm_debugregs, dr7),
};

static const struct field event_fields[] = {
	EVENT(exception.injected),
	EVENT(exception.nr),
	EVENT(exception.has_error_code),
	EVENT(exception.pending),
	EVENT(exception.error_code),
	EVENT(exception_has_payload),
	EVENT(exception_payload),
	EVENT(interrupt.injected),
	EVENT(interrupt.nr),
	EVENT(interrupt.soft),
	EVENT(interrupt.shadow),
	EVENT(nmi.injected),
	EVENT(nmi.pending),
	EVENT(nmi.masked),
	EVENT(sipi_vector),
	EVENT(flags),
	EVENT(smi.smm),
	EVENT(smi.pending),
	EVENT(smi.smm_inside_nmi),
	EVENT(smi.latched_init),
};

static void put_fields(struct state_writer *w, const void *from, const struct field *f, size_t n)
{
	for (; n--; f++) {
		uint64_t v = 0;

		/* x86 is little-endian, and so is a saved state. */
		memcpy(&v, (const char *)from + f->at, f->size);
		switch (f->size) {
		case 1:
			state_put_u8(w, (uint8_t)v);
			break;
		case 2:
			state_put_u16(w, (uint16_t)v);
			break;
		case 4:
			state_put_u32(w, (uint32_t)v);
			break;
		default:
			state_put_u64(w, v);
		}
	}
}

static void get_fields(struct state_reader *r, void *to, const struct field *f, size_t n)
{
	for (; n--; f++)
		state_get_bytes(r, (char *)to + f->at, f->size);
}

#define PUT(w, from, fields) put_fields(w, from, fields, ARRAY_LEN(fields))
#define GET(r, to, fields)   get_fields(r, to, fields, ARRAY_LEN(fields))

/* --- MSRs ------------------------------------------------------------------------------------ */

struct msr_list {
	uint32_t n;
	uint32_t index[MSRS_MAX];
};

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[MSRS_MAX];
};

struct msr_list *msr_list_read(const struct kvm_vm *vm)
{
	struct msr_list *l = calloc(1, sizeof(*l));

	_Static_assert(offsetof(struct msr_list, index) == offsetof(struct kvm_msr_list, indices),
		       "KVM's list");
	if (!l)
		return NULL;
	l->n = MSRS_MAX;
	if (kvm_ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, l) < 0) {
		free(l);
		return NULL;
	}
	return l;
}

void msr_list_free(struct msr_list *l)
{
	free(l);
}

/* KVM lists some that this guest, by its CPUID, does not have, and stops at each of them. Gives how
 * many it read into `out`. */
static uint32_t read_msrs(int fd, const struct msr_list *l, struct kvm_msr_entry *out,
			  struct msrs *batch)
{
	uint32_t kept = 0, next = 0;

	while (next < l->n) {
		batch->head = (struct kvm_msrs){.nmsrs = l->n - next};
		for (uint32_t i = 0; i < batch->head.nmsrs; i++)
			batch->entries[i] = (struct kvm_msr_entry){.index = l->index[next + i]};
		int got = kvm_ioctl(fd, KVM_GET_MSRS, batch);
		uint32_t n = got > 0 ? (uint32_t)got : 0;

		memcpy(out + kept, batch->entries, n * sizeof(*out));
		kept += n;
		next += n + 1;
	}
	return kept;
}

static int save_msrs(int fd, const struct msr_list *l, struct state_writer *w)
{
	struct msrs *batch = malloc(sizeof(*batch));
	struct kvm_msr_entry *all = calloc(MSRS_MAX, sizeof(*all));
	int ret = batch && all ? 0 : -ENOMEM;

	if (!ret) {
		uint32_t n = read_msrs(fd, l, all, batch);

		state_put_u32(w, n);
		for (uint32_t i = 0; i < n; i++) {
			state_put_u32(w, all[i].index);
			state_put_u64(w, all[i].data);
		}
	}
	free(all);
	free(batch);
	return ret;
}

/* Does the MSR at which KVM stopped hold that value anyhow? Some can only be read. */
static bool holds(int fd, const struct kvm_msr_entry *want)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry.index = want->index};

	return kvm_ioctl(fd, KVM_GET_MSRS, &one) == 1 && one.entry.data == want->data;
}

static int write_msrs(int fd, struct msrs *m, struct err *e)
{
	uint32_t n = m->head.nmsrs, next = 0;

	while (next < n) {
		struct kvm_msr_entry *left = m->entries + next;

		memmove(m->entries, left, (n - next) * sizeof(*left));
		n -= next;
		m->head.nmsrs = n;
		int set = kvm_ioctl(fd, KVM_SET_MSRS, m);

		next = set > 0 ? (uint32_t)set : 0;
		if (next < n && !holds(fd, &m->entries[next]))
			return err_host(e, -EINVAL,
					"saved state: KVM does not take %#llx for MSR %#x",
					m->entries[next].data, m->entries[next].index);
		next++;
	}
	return 0;
}

/* KVM forgets a deadline that comes before the TSC by which it counts [SDM 3A 11.5.4.1]. */
static void put_deadline_last(struct msrs *m)
{
	uint32_t n = m->head.nmsrs;

	for (uint32_t i = 0; i < n; i++) {
		struct kvm_msr_entry entry = m->entries[i];

		if (entry.index != MSR_TSC_DEADLINE)
			continue;
		memmove(&m->entries[i], &m->entries[i + 1], (n - i - 1) * sizeof(entry));
		m->entries[n - 1] = entry;
		return;
	}
}

static struct msrs *get_msrs(struct state_reader *r, uint64_t tsc_gone, uint64_t *tsc)
{
	uint32_t n = state_get_u32(r);
	struct msrs *m = n <= MSRS_MAX ? calloc(1, sizeof(*m)) : NULL;

	if (!m) {
		r->error = n <= MSRS_MAX ? -ENOMEM : -EBADMSG;
		return NULL;
	}
	m->head.nmsrs = n;
	for (uint32_t i = 0; i < n; i++) {
		m->entries[i].index = state_get_u32(r);
		m->entries[i].data = state_get_u64(r);
		if (m->entries[i].index == MSR_TSC)
			*tsc = m->entries[i].data += tsc_gone;
	}
	put_deadline_last(m);
	return m;
}

/* --- the FPU and its like: the area of XSAVE, as the processor lays it out [SDM 1 13.4] ------- */

static size_t xsave_size(const struct kvm_vm *vm)
{
	int size = kvm_vm_capability(vm, KVM_CAP_XSAVE2);

	return size > XSAVE_MIN ? (size_t)size : XSAVE_MIN;
}

static int save_xsave(const struct kvm_vm *vm, int fd, struct state_writer *w)
{
	size_t size = xsave_size(vm);
	void *area = calloc(1, size);
	int ret = area ? kvm_ioctl(fd, size > XSAVE_MIN ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, area)
		       : -ENOMEM;

	state_put_u32(w, (uint32_t)size);
	if (!ret)
		state_put_bytes(w, area, size);
	free(area);
	return ret;
}

/* As long as this host's KVM reads. What it has no room for is nothing, where the guest's CPUID
 * fits this host. */
static void *get_xsave(struct state_reader *r, size_t room)
{
	uint32_t size = state_get_u32(r);
	char *area = size <= XSAVE_MAX ? calloc(1, room > size ? room : size) : NULL;

	if (!area)
		r->error = size <= XSAVE_MAX ? -ENOMEM : -EBADMSG;
	else
		state_get_bytes(r, area, size);
	return area;
}

static void put_xcrs(struct state_writer *w, const struct kvm_xcrs *x)
{
	state_put_u32(w, x->nr_xcrs);
	for (uint32_t i = 0; i < x->nr_xcrs; i++) {
		state_put_u32(w, x->xcrs[i].xcr);
		state_put_u64(w, x->xcrs[i].value);
	}
}

static void get_xcrs(struct state_reader *r, struct kvm_xcrs *x)
{
	x->nr_xcrs = state_get_u32(r);
	if (x->nr_xcrs > KVM_MAX_XCRS) {
		r->error = -EBADMSG;
		return;
	}
	for (uint32_t i = 0; i < x->nr_xcrs; i++) {
		x->xcrs[i].xcr = state_get_u32(r);
		x->xcrs[i].value = state_get_u64(r);
	}
}

/* --- a whole processor -------------------------------------------------------------------------
 */

struct cpu {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_lapic_state apic;
	struct kvm_xcrs xcrs;
};

/* A guest that is a hypervisor has state in KVM that we do not carry; in which format, that of
 * which maker's processors, goes to *format. */
static bool is_hypervisor(const struct kvm_vm *vm, int fd, uint16_t *format)
{
	union {
		struct kvm_nested_state state;
		uint8_t room[sizeof(struct kvm_nested_state) + 16384];
	} * nested;
	int size = kvm_vm_capability(vm, KVM_CAP_NESTED_STATE);
	bool yes = false;

	if (size <= 0 || (size_t)size > sizeof(*nested) || !(nested = calloc(1, sizeof(*nested))))
		return false;
	nested->state.size = sizeof(*nested);
	if (!kvm_ioctl(fd, KVM_GET_NESTED_STATE, nested))
		yes = nested->state.flags &
			      (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING) ||
		      (nested->state.format == KVM_STATE_NESTED_FORMAT_VMX &&
		       nested->state.hdr.vmx.vmxon_pa != UINT64_MAX);
	*format = nested->state.format;
	free(nested);
	return yes;
}

int regs_save(const struct kvm_vm *vm, int fd, const struct msr_list *msrs, const char *name,
	      struct state_writer *w, struct err *e)
{
	struct cpu c = {0};
	uint16_t format;

	if (is_hypervisor(vm, fd, &format))
		return err_host(e, -ENOTSUP,
				"%s: the guest runs virtual machines itself; those cannot be "
				"saved",
				name);
	/* The first, since to ask for it takes in what the APIC has pending. */
	int ret = kvm_ioctl(fd, KVM_GET_MP_STATE, &c.mp);

	if (!ret)
		ret = kvm_ioctl(fd, KVM_GET_REGS, &c.regs);
	if (!ret)
		ret = kvm_ioctl(fd, KVM_GET_SREGS, &c.sregs);
	if (!ret)
		ret = kvm_ioctl(fd, KVM_GET_XCRS, &c.xcrs);
	if (!ret)
		ret = kvm_ioctl(fd, KVM_GET_DEBUGREGS, &c.debug);
	if (!ret)
		ret = kvm_ioctl(fd, KVM_GET_LAPIC, &c.apic);
	if (!ret)
		ret = kvm_ioctl(fd, KVM_GET_VCPU_EVENTS, &c.events);
	if (ret)
		return err_host(e, ret, "%s: KVM does not tell its state: %s", name,
				strerror(-ret));
	state_section_begin(w, name, VERSION);
	state_put_u32(w, c.mp.mp_state);
	PUT(w, &c.regs, regs_fields);
	PUT(w, &c.sregs, sregs_fields);
	PUT(w, &c.debug, debug_fields);
	PUT(w, &c.events, event_fields);
	put_xcrs(w, &c.xcrs);
	/* The registers' page, which is the processor's own layout [SDM 3A 11.4.1]. */
	state_put_bytes(w, c.apic.regs, sizeof(c.apic.regs));
	ret = save_xsave(vm, fd, w);
	if (!ret)
		ret = save_msrs(fd, msrs, w);
	state_section_end(w);
	return ret ? err_host(e, ret, "%s: KVM does not tell its state: %s", name, strerror(-ret))
		   : 0;
}

static int set(int fd, unsigned long request, void *arg, const char *what, struct err *e)
{
	int ret = kvm_ioctl(fd, request, arg);

	return ret < 0 ? err_host(e, ret, "saved state: KVM does not take %s: %s", what,
				  strerror(-ret))
		       : 0;
}

/* The APIC's base, with x2APIC on or off, is among the special registers and decides how the APIC's
 * page is read; the APIC's timer mode decides whether a deadline is one; XCR0 what of the XSAVE
 * area counts. An interrupt that was on its way in comes after the APIC, and whether the processor
 * sleeps at the end. */
static int apply(int fd, struct cpu *c, void *xsave, struct msrs *msrs, struct err *e)
{
	int ret = set(fd, KVM_SET_SREGS, &c->sregs, "the special registers", e);

	if (!ret)
		ret = set(fd, KVM_SET_REGS, &c->regs, "the registers", e);
	if (!ret && c->xcrs.nr_xcrs)
		ret = set(fd, KVM_SET_XCRS, &c->xcrs, "XCR0", e);
	if (!ret)
		ret = set(fd, KVM_SET_XSAVE, xsave, "the FPU's state", e);
	if (!ret)
		ret = set(fd, KVM_SET_DEBUGREGS, &c->debug, "the debug registers", e);
	if (!ret)
		ret = set(fd, KVM_SET_LAPIC, &c->apic, "the local APIC", e);
	if (!ret)
		ret = write_msrs(fd, msrs, e);
	if (!ret)
		ret = set(fd, KVM_SET_VCPU_EVENTS, &c->events, "the pending events", e);
	return ret ? ret : set(fd, KVM_SET_MP_STATE, &c->mp, "the state of activity", e);
}

int regs_load(const struct kvm_vm *vm, int fd, const char *name, uint64_t tsc_gone, uint64_t *tsc,
	      struct state_reader *r, struct err *e)
{
	struct cpu c = {0};
	int ret = state_section_expect(r, name, VERSION, e);

	if (ret)
		return ret;
	c.mp.mp_state = state_get_u32(r);
	GET(r, &c.regs, regs_fields);
	GET(r, &c.sregs, sregs_fields);
	GET(r, &c.debug, debug_fields);
	GET(r, &c.events, event_fields);
	get_xcrs(r, &c.xcrs);
	state_get_bytes(r, c.apic.regs, sizeof(c.apic.regs));
	void *xsave = get_xsave(r, xsave_size(vm));
	struct msrs *msrs = get_msrs(r, tsc_gone, tsc);

	ret = state_section_close(r, e);
	if (!ret)
		ret = apply(fd, &c, xsave, msrs, e);
	free(msrs);
	free(xsave);
	return ret;
}

int regs_leave_nested(const struct kvm_vm *vm, int fd)
{
	struct kvm_nested_state none = {.size = sizeof(none)};

	if (!is_hypervisor(vm, fd, &none.format))
		return 0;
	if (none.format == KVM_STATE_NESTED_FORMAT_VMX)
		none.hdr.vmx.vmxon_pa = none.hdr.vmx.vmcs12_pa = UINT64_MAX;
	else
		none.flags = KVM_STATE_NESTED_GIF_SET; /* interrupts come in */
	return kvm_ioctl(fd, KVM_SET_NESTED_STATE, &none);
}

int regs_read_tsc(int fd, uint64_t *tsc)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry.index = MSR_TSC};
	int ret = kvm_ioctl(fd, KVM_GET_MSRS, &one);

	*tsc = one.entry.data;
	return ret < 0 ? ret : ret == 1 ? 0 : -EINVAL;
}

int regs_shift_tsc(int fd, int64_t by)
{
	uint64_t offset = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};
	int ret = kvm_ioctl(fd, KVM_GET_DEVICE_ATTR, &attr);

	offset += (uint64_t)by;
	return ret ? ret : kvm_ioctl(fd, KVM_SET_DEVICE_ATTR, &attr);
}

int regs_copy_tsc(int fd, int other)
{
	uint64_t offset = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};
	int ret = kvm_ioctl(other, KVM_GET_DEVICE_ATTR, &attr);

	return ret ? ret : kvm_ioctl(fd, KVM_SET_DEVICE_ATTR, &attr);
}
