"""Lets gdb unwind the stacks of a UKL image's kernel.

The kernel has neither DWARF nor frame pointers.  It unwinds its own stacks with ORC tables
(Documentation/arch/x86/orc-unwinder.rst).  With these tables a backtrace leads from the innermost
function of the kernel to the registers that were saved when the kernel was entered, and on into the
program, whose frames gdb unwinds by itself.
"""

import bisect
import mmap
import re
import struct

import gdb
import gdb.unwinder

# The registers from which ORC computes a frame's stack pointer or frame pointer.
UNDEFINED, PREV_SP, DX, DI, BP, SP, R10, R13, BP_INDIRECT, SP_INDIRECT = range(10)
# The kinds of ORC entries.
_, END_OF_STACK, CALL, REGS, REGS_PARTIAL = range(5)

REGISTERS = {DX: "rdx", DI: "rdi", BP: "rbp", SP: "rsp", R10: "r10", R13: "r13",
             BP_INDIRECT: "rbp", SP_INDIRECT: "rsp"}
# The members of struct pt_regs in order.  Members that gdb does not need have no name.
PT_REGS = ["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
           "rsi", "rdi", None, "rip", None, "eflags", "rsp", None]
# The first member that the processor itself saves.
IRET = PT_REGS.index("rip")
# The first member that a short system call saves.
FROM_RBP = PT_REGS.index("rbp")

# The most instructions of a trampoline, and the most bytes of the hole that leads to it.
TRAMPOLINE, HOLE = 24, 32
# The jump to a trampoline, followed by the first byte that fills the rest of the hole.
JUMP = re.compile(rb"\xe9(?=(.{4})\xcc)", re.DOTALL)

KERNEL = 0xffffffff80000000
THREAD_SIZE = 16384


class Elf:
    """An ELF file with sections."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        offset, = struct.unpack_from("<Q", self.data, 0x28)
        count, names = struct.unpack_from("<HH", self.data, 0x3c)
        headers = [struct.unpack_from("<IIQQQQIIQQ", self.data, offset + number * 64)
                   for number in range(count)]
        self.sections = {self.string(headers[names][4] + header[0]): header for header in headers}

    def string(self, at):
        return self.data[at:self.data.find(b"\0", at)].decode("latin-1")

    def place(self, name):
        """The offset in the file, the address and the size of a section."""
        header = self.sections[name]
        return header[4], header[3], header[5]


class Vmlinux(Elf):
    """The parts of the kernel's ELF file that unwinding needs."""

    def __init__(self, path):
        super().__init__(path)
        self.ips, self.first, size = self.place(".orc_unwind_ip")
        self.entries = self.place(".orc_unwind")[0]
        self.count = size // 4

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        """The first address to which entry `number` applies."""
        distance, = struct.unpack_from("<i", self.data, self.ips + number * 4)
        return self.first + number * 4 + distance

    def orc(self, pc):
        """The entry for an address: stack offset, frame offset, their registers, the kind."""
        number = bisect.bisect_right(self, pc) - 1
        if number < 0:
            return None
        sp, bp, bits = struct.unpack_from("<hhH", self.data, self.entries + number * 6)
        return sp, bp, bits & 15, bits >> 4 & 15, bits >> 8 & 7

    def symbols(self, wanted):
        """The addresses of some symbols."""
        table, strings = self.sections[".symtab"], self.sections[".strtab"]
        found = {}
        for name, _, _, _, value, _ in struct.iter_unpack(
                "<IBBHQQ", self.data[table[4]:table[4] + table[5]]):
            end = strings[4] + name
            for symbol in wanted:
                raw = symbol.encode() + b"\0"
                if self.data[end:end + len(raw)] == raw:
                    found[symbol] = value
        return found


class FrameId:
    """Identifies a frame of the kernel.

    gdb considers a stack corrupt if its frames are not in address order, and the kernel's stacks are
    above the program's.  So the stack address is in `special`, which gdb does not compare for that.
    """

    def __init__(self, cfa):
        self.sp = gdb.Value(1)
        self.pc = gdb.Value(KERNEL)
        self.special = gdb.Value(cfa)


class Unwinder(gdb.unwinder.Unwinder):
    """Unwinds frames of the kernel."""

    def __init__(self, path):
        super().__init__("ukl-kernel")
        self.vmlinux = Vmlinux(path)
        found = self.vmlinux.symbols(["entry_UKL_SYSCALL_64", "entry_UKL_called",
                                      "entry_UKL_back_end", "entry_SYSCALL_64",
                                      "entry_SYSCALL_64_safe_stack"])
        # Code in which a system call has not saved its registers yet.
        self.entries = [(found.get("entry_UKL_SYSCALL_64", 0), found.get("entry_UKL_back_end", 0)),
                        (found.get("entry_SYSCALL_64", 0),
                         found.get("entry_SYSCALL_64_safe_stack", 0))]
        # The return address of a system call that has saved its registers only in part.
        self.called = found.get("entry_UKL_called")
        # Addresses at which an exception or interrupt arrived, as opposed to return addresses.
        self.exact = set()
        self.holes = {}

    def __call__(self, frame):
        pc = int(frame.read_register("rip")) & (1 << 64) - 1
        if pc < KERNEL:
            return None
        try:
            return self.unwind(frame, pc)
        except gdb.MemoryError:
            return None

    def unwind(self, frame, pc):
        def register(name):
            return int(frame.read_register(name)) & (1 << 64) - 1

        here = register("rsp")
        is_exact = frame.level() == 0 or (pc, here) in self.exact
        found = self.vmlinux.orc(pc if is_exact else pc - 1)
        if found is None:
            return None
        sp_offset, bp_offset, sp_reg, bp_reg, kind = found
        if kind in (UNDEFINED, END_OF_STACK) or sp_reg not in REGISTERS:
            return self.at_the_end(frame, pc, here, register)

        # The caller's stack pointer, or the address of the saved registers.
        sp = register(REGISTERS[sp_reg])
        if sp_reg == SP_INDIRECT:
            sp = word(sp) + sp_offset
        elif sp_reg == BP_INDIRECT:
            sp = word(sp + sp_offset)
        else:
            sp += sp_offset

        cfa = sp
        saved = {}
        if kind == REGS:
            cfa += len(PT_REGS) * 8
            first = FROM_RBP if pc == self.called else 0
            saved = {name: word(sp + number * 8)
                     for number, name in enumerate(PT_REGS) if name and number >= first}
            self.exact.add((saved["rip"], saved["rsp"]))
        elif kind == REGS_PARTIAL:
            cfa += (len(PT_REGS) - IRET) * 8
            for name in ("rip", "rsp"):
                saved[name] = word(sp + (PT_REGS.index(name) - IRET) * 8)
            self.exact.add((saved["rip"], saved["rsp"]))
        else:
            saved["rip"] = word(sp - 8)
            saved["rsp"] = sp
        if kind in (REGS, REGS_PARTIAL) and not saved["rip"] >> 63:
            self.leave_trampoline(frame.architecture(), saved)
        if kind != REGS:
            if bp_reg == PREV_SP:
                saved["rbp"] = word(sp + bp_offset)
            elif bp_reg == BP:
                saved["rbp"] = word(register("rbp") + bp_offset)
        return made(frame, cfa, saved)

    def leave_trampoline(self, architecture, saved):
        """Moves a frame in a trampoline to the place in the program that belongs to it.

        DWARF does not know the function of a system call that was moved to a trampoline together
        with its neighbours.  A jump leads there from the hole that they left, and another one leads
        back, unless the end of the function was moved as well.
        """
        pc, here, sp = saved["rip"], saved["rip"], saved["rsp"]
        try:
            for _ in range(TRAMPOLINE):
                instruction, = architecture.disassemble(here)
                here += instruction["length"]
                words = instruction["asm"].split()
                if words[:2] == ["lea", "0x80(%rsp),%rsp"]:
                    sp += 0x80
                elif words[0] in ("call", "ret", "leave"):
                    break
                elif words[0] == "jmp":
                    here = int(words[1], 16)
                    if leads_into(here, pc):
                        saved["rip"], saved["rsp"] = here, sp
                        return
        except (gdb.error, ValueError, IndexError):
            # This is not a trampoline.
            return
        hole = self.hole(architecture, pc)
        if hole:
            saved["rip"], saved["rsp"] = hole, sp

    def hole(self, architecture, pc):
        """The address after the jump to the trampoline around `pc`, if there is one."""
        if pc not in self.holes:
            self.holes[pc] = None
            name = gdb.current_progspace().filename
            if name:
                elf = Elf(name)
                offset, address, size = elf.place(".text")
                for jump in JUMP.finditer(elf.data, offset, offset + size):
                    behind = jump.start() - offset + address + 5
                    distance, = struct.unpack("<i", jump.group(1))
                    if runs_into(architecture, behind + distance, pc):
                        self.holes[pc] = behind
        return self.holes[pc]

    def at_the_end(self, frame, pc, here, register):
        """Handles a frame beyond which the ORC tables do not lead."""
        for start, end in self.entries:
            if not start <= pc < end:
                continue
            # The first instructions of a system call: rcx still holds the return address.
            saved = {"rip": register("rcx"), "rsp": here}
            if here >> 63:
                top = -(-here // THREAD_SIZE) * THREAD_SIZE
                if here > top - 16:
                    break
                saved["rsp"] = word(top - 16)
            return made(frame, here + 8, saved)
        # This ends the backtrace.
        return made(frame, here + 8, {"rip": 0})


def runs_into(architecture, start, pc):
    """Whether execution continues from `start` to `pc` without a jump or return."""
    if not 0 < pc - start <= TRAMPOLINE * 8:
        return False
    for instruction in architecture.disassemble(start, pc - 1):
        if instruction["asm"].split()[0] in ("jmp", "ret"):
            return False
    return instruction["addr"] + instruction["length"] == pc


def leads_into(end, pc):
    """Whether the hole that ends at `end` starts with a jump to a trampoline around `pc`."""
    hole = bytes(gdb.selected_inferior().read_memory(end - HOLE, HOLE))
    for at in range(HOLE - 4):
        if hole[at] == 0xe9:
            distance, = struct.unpack_from("<i", hole, at + 1)
            if 0 < pc - (end - HOLE + at + 5 + distance) <= TRAMPOLINE * 8:
                return True
    return False


def word(address):
    """Reads eight bytes of the machine's memory."""
    memory = gdb.selected_inferior().read_memory(address & (1 << 64) - 1, 8)
    return struct.unpack("<Q", memory)[0]


def made(frame, cfa, registers):
    """The unwind information of a frame, in gdb's form."""
    info = frame.create_unwind_info(FrameId(cfa))
    architecture = frame.architecture()
    for name, value in registers.items():
        size = 32 if name == "eflags" else 64
        value = gdb.Value(value & (1 << size) - 1)
        info.add_saved_register(name, value.cast(architecture.integer_type(size, False)))
    return info


def unwind_kernel(path):
    """Unwinds frames of the kernel in the file `path`."""
    gdb.unwinder.register_unwinder(None, Unwinder(path), True)
