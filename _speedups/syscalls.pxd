# The relay's system calls without the library's wrappers, which are thread cancellation points and cost some 70
# instructions a call. As the wrappers do, they return -1 and set errno on failure.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #if defined(__x86_64__)
    /* System V ABI, AMD64 supplement, A.2.1 */
    static inline long fl_syscall(long number, long a, long b, long c, long d, long e, long f)
    {
        long result;
        register long r10 __asm__("r10") = d;
        register long r8 __asm__("r8") = e;
        register long r9 __asm__("r9") = f;
        __asm__ volatile("syscall"
                         : "=a"(result)
                         : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
        if (__builtin_expect(result < 0, 0)) {
            errno = (int)-result;
            return -1;
        }
        return result;
    }
    #else
    #define fl_syscall syscall
    #endif

    static inline ssize_t fl_recv(int fd, void *p, size_t n, int flags)
    { return fl_syscall(SYS_recvfrom, fd, (long)p, (long)n, flags, 0, 0); }
    static inline ssize_t fl_send(int fd, const void *p, size_t n, int flags)
    { return fl_syscall(SYS_sendto, fd, (long)p, (long)n, flags, 0, 0); }
    static inline int fl_epoll_wait(int fd, struct epoll_event *events, int room, int timeout_ms)
    { return (int)fl_syscall(SYS_epoll_pwait, fd, (long)events, room, timeout_ms, 0, 0); }
    """
    ssize_t recv "fl_recv" (int fd, void* buf, size_t n, int flags) noexcept nogil
    ssize_t send "fl_send" (int fd, const void* buf, size_t n, int flags) noexcept nogil
    enum:
        MSG_NOSIGNAL

cdef extern from "sys/epoll.h" nogil:
    cdef enum:
        EPOLLIN
        EPOLLOUT
        EPOLLRDHUP
        EPOLLHUP
        EPOLLERR
        EPOLLET
        EPOLL_CTL_ADD, EPOLL_CTL_DEL
        EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)

cdef extern from *:
    int epoll_wait "fl_epoll_wait" (int epfd, epoll_event* events, int maxevents, int timeout) noexcept nogil
