// A program without libc: its own entry, its own calls in four forms, the stack as the kernel hands it over.
//#CFlags: -nostdlib -static
//#Args: argument
//#Expect-stdout: from assembly
//#Expect-stdout: argument
        .text
        .globl  _start
        .type   _start, @function
_start:
        .cfi_startproc
        .cfi_undefined %rip
        mov     (%rsp), %rax            # argc
        cmp     $2, %rax
        jne     fail
        mov     16(%rsp), %r12          # argv[1]
        mov     $1, %edi
        lea     hello(%rip), %rsi
        mov     $hello_end - hello, %edx
        mov     $1, %eax
        syscall
        cmp     $hello_end - hello, %rax
        jne     fail
        # The length of the argument, then a newline in its place: it is ours to write to.
        mov     %r12, %rsi
        xor     %edx, %edx
1:      cmpb    $0, (%rsi,%rdx)
        je      2f
        inc     %rdx
        jmp     1b
2:      movb    $'\n', (%rsi,%rdx)
        inc     %rdx
        mov     $1, %edi
        push    $1                      # the number by way of the stack
        pop     %rax
        syscall
        cmp     %rdx, %rax
        jne     fail
        # read(-1): the number by xor.
        xor     %eax, %eax
        mov     $-1, %rdi
        syscall
        cmp     $-9, %rax
        jne     fail
        # A number out of memory.
        mov     number(%rip), %rax
        syscall
        test    %rax, %rax
        jle     fail
        mov     $42, %edi
        mov     $231, %eax
        syscall
fail:   mov     $1, %edi
        mov     $60, %eax
        syscall
        hlt
        .cfi_endproc
        .size   _start, .-_start

        .section .rodata
hello:  .ascii  "from assembly\n"
hello_end:
        .data
number: .quad   39

        .section .note.GNU-stack, "", @progbits
