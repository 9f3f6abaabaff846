/* The least that a fan-out can be: one prepared frame, one send() for each socket.
 *
 *     floor SIZE
 *
 * Prints {"port":N}. Commands on standard input, each answered by a line of JSON:
 *     accept N            wait for N WebSocket handshakes
 *     run RATE SECONDS    send RATE frames of SIZE bytes a second to each; as many as possible where that is too much
 * Ends when standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

static int sockets[20000], connected;

static void fail(const char *what) { fprintf(stderr, "floor: %s: %s\n", what, strerror(errno)); exit(1); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void accept_some(int listener, int count) {
    static const char answer[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* of the one key that the sink uses */
    char request[4096];
    int one = 1;
    for (int i = 0; i < count; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) fail("accept");
        size_t have = 0;
        do {
            ssize_t size = recv(fd, request + have, sizeof request - 1 - have, 0);
            if (size <= 0) fail("handshake");
            request[have += (size_t)size] = 0;
        } while (!strstr(request, "\r\n\r\n"));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) fail("answer");
        sockets[connected++] = fd;
    }
    printf("{\"connections\":%d}\n", connected);
}

static void run(int size, double rate, double seconds) {
    static char frame[65536];
    int head = 2;
    frame[0] = (char)0x81;
    if (size - 2 < 126) frame[1] = (char)(size - 2);
    else {
        frame[1] = 126;
        frame[2] = (char)((size - 4) >> 8);
        frame[3] = (char)(size - 4);
        head = 4;
    }
    memset(frame + head, 'x', (size_t)(size - head));
    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9), messages = 0, failed = 0;
    double before = cpu();
    for (;;) {
        uint64_t due = begun + (uint64_t)((double)messages * 1e9 / rate), now = now_ns();
        if (due >= end || now >= end) break;
        if (due > now) {
            struct timespec until = {.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
        char mark[32];
        snprintf(mark, sizeof mark, "ns=%020llu", (unsigned long long)now_ns());
        memcpy(frame + head, mark, 23);
        for (int i = 0; i < connected; i++)
            if (send(sockets[i], frame, (size_t)size, MSG_NOSIGNAL) != size) failed++;
        messages++;
    }
    printf("{\"messages\":%llu,\"deliveries\":%llu,\"failed\":%llu,\"cpu\":%.6f,\"seconds\":%.6f}\n", (unsigned long long)messages,
           (unsigned long long)(messages * (uint64_t)connected), (unsigned long long)failed, cpu() - before,
           (double)(now_ns() - begun) / 1e9);
}

int main(int argc, char **argv) {
    int size = argc == 2 ? atoi(argv[1]) : 0;
    if (size < 32 || size > 65000) {
        fprintf(stderr, "usage: floor SIZE (of a frame, 32 to 65000 bytes)\n");
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof own;
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (struct sockaddr *)&own, &length);
    printf("{\"port\":%d}\n", ntohs(own.sin_port));
    fflush(stdout);
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        int count;
        double rate, seconds;
        if (sscanf(line, "accept %d", &count) == 1 && connected + count <= 20000) accept_some(listener, count);
        else if (sscanf(line, "run %lf %lf", &rate, &seconds) == 2) run(size, rate, seconds);
        else printf("{\"error\":\"not understood\"}\n");
        fflush(stdout);
    }
    return 0;
}
