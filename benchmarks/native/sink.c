/* Many WebSocket clients in one process that do as little as can be done: open, say one thing, count what comes.
 *
 *     sink HOST PORT PATH FIRST_MESSAGES PROBE_EVERY ANSWER
 *
 * FIRST_MESSAGES: a file with one line for each connection, the text it sends once it is open; an empty line: nothing.
 * Tabs part it into frames, which are sent at once. A line that begins with a slash is a path of the connection's own,
 * and nothing is sent.
 * A connection that sent something is ready when a frame came that holds ANSWER; any does when that is empty. Every
 * PROBE_EVERY-th connection also reads its frames: where one holds "ns=" and 20 digits, that is when (CLOCK_MONOTONIC,
 * nanoseconds) it was sent.
 *
 * Prints a line of JSON when all are ready, and one for each line on standard input: "read" gives the counts since the
 * last "reset", "reset" the same and begins anew. Ends when standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPENING = 1, UPGRADING, AWAITED, READY, GONE };
enum { BUCKETS = 64 * 32, KEPT = 4096, AT_ONCE = 200, PER_ADDRESS = 10000 };

struct client {
    int fd;
    int state;
    char *first;      /* the texts to be sent, without the line's end */
    uint64_t left;    /* bytes of the frame's payload that have not come */
    unsigned char head[10];
    int have;         /* bytes of `head` */
    char *kept;       /* the payload so far, of a frame that is read */
    int keeping;
};

static struct client *clients;
static int total, ready, closed, opening, next_to_open, probe_every;
static uint64_t frames, bytes, reads, slowest, counted[BUCKETS];
static char buffer[1 << 18];
static struct sockaddr_in server;
static const char *path, *answer;
static int poller;

static void fail(const char *what) { fprintf(stderr, "sink: %s: %s\n", what, strerror(errno)); exit(1); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Buckets of 1/32 of a power of two, of microseconds. */
static int bucket_of(uint64_t us) {
    if (us < 32) return (int)us;
    int power = 63 - __builtin_clzll(us);
    int at = (power - 4) * 32 + (int)((us >> (power - 5)) & 31);
    return at < BUCKETS ? at : BUCKETS - 1;
}

static uint64_t bucket_begin(int bucket) {
    if (bucket < 32) return (uint64_t)bucket;
    int power = bucket / 32 + 4;
    return (1ull << power) + ((uint64_t)(bucket % 32) << (power - 5));
}

static void note(struct client *client) {
    char *mark = client->kept, *end = mark + client->keeping;
    do { /* XML is full of "xmlns=" */
        mark = memmem(mark, (size_t)(end - mark), "ns=", 3);
        if (!mark || end - mark < 23) return;
        mark += 3;
    } while (!isdigit((unsigned char)*mark));
    char digits[21];
    memcpy(digits, mark, 20);
    digits[20] = 0;
    uint64_t sent = strtoull(digits, NULL, 10), now = now_ns();
    if (!sent || now < sent) return;
    uint64_t us = (now - sent) / 1000;
    counted[bucket_of(us)]++;
    if (us > slowest) slowest = us;
}

static void gone(struct client *client) {
    if (client->state < READY) {
        fprintf(stderr, "sink: connection %d ended before it was ready\n", (int)(client - clients));
        exit(1);
    }
    client->state = GONE;
    close(client->fd);
    closed++;
}

static void begin(struct client *client) {
    int at = (int)(client - clients), one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) fail("socket");
    /* Addresses of the loopback network in turn: each has ports of its own. */
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)((at / PER_ADDRESS) * 16) + (uint32_t)getpid() % 16)};
    setsockopt(client->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
    if (bind(client->fd, (struct sockaddr *)&own, sizeof own)) fail("bind");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) fail("connect");
    client->state = OPENING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event)) fail("epoll_ctl");
    opening++;
}

static void request(struct client *client) {
    char text[512];
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        client->first[0] == '/' ? client->first : path);
    if (write(client->fd, text, (size_t)size) != size) fail("request");
    client->state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event)) fail("epoll_ctl");
}

static void became_ready(struct client *client) {
    client->state = READY;
    ready++;
    opening--;
}

/* One text frame, masked with zeroes: the payload stays as it is. Gives its size in `buffer`, from `at` on. */
static size_t frame(size_t at, const char *text, size_t size) {
    unsigned char head[8] = {0x81, (unsigned char)(0x80 | size)};
    size_t length = 6;
    if (size > 125) {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(size >> 8);
        head[3] = (unsigned char)size;
        length = 8;
    }
    if (size > 65535 || at + length + size > sizeof buffer) { errno = EMSGSIZE; fail("first message"); }
    memcpy(buffer + at, head, length);
    memcpy(buffer + at + length, text, size);
    return length + size;
}

static void say(struct client *client) {
    if (!*client->first || client->first[0] == '/') {
        became_ready(client);
        return;
    }
    size_t filled = 0;
    for (const char *text = client->first;; text++) {
        size_t size = strcspn(text, "\t");
        filled += frame(filled, text, size);
        text += size;
        if (!*text) break;
    }
    if (write(client->fd, buffer, filled) != (ssize_t)filled) fail("first message");
    client->state = AWAITED;
}

static int is_answer(struct client *client) {
    return !*answer || memmem(client->kept, (size_t)client->keeping, answer, strlen(answer)) != NULL;
}

static void take(struct client *client, const char *data, size_t size) {
    int probe = probe_every && (client - clients) % probe_every == 0;
    while (size) {
        if (client->left) {
            size_t part = client->left < size ? (size_t)client->left : size;
            if (probe || (client->state == AWAITED && *answer)) {
                if (!client->kept && !(client->kept = malloc(KEPT))) fail("malloc");
                size_t room = (size_t)(KEPT - client->keeping), kept = part < room ? part : room;
                memcpy(client->kept + client->keeping, data, kept);
                client->keeping += (int)kept;
            }
            client->left -= part;
            data += part;
            size -= part;
        } else {
            client->head[client->have++] = (unsigned char)*data++;
            size--;
            if (client->have < 2) continue;
            int length = client->head[1] & 127, wanted = length == 126 ? 4 : length == 127 ? 10 : 2;
            if (client->have < wanted) continue;
            client->left = 0;
            if (wanted == 2) client->left = (uint64_t)length;
            else for (int i = 2; i < wanted; i++) client->left = client->left << 8 | client->head[i];
        }
        if (!client->left && client->have) {
            int opcode = client->head[0] & 15;
            client->have = 0;
            if (opcode == 1 || opcode == 2) {
                if (client->state == AWAITED) { if (is_answer(client)) became_ready(client); }
                else { frames++; if (probe) note(client); }
            }
            client->keeping = 0;
        }
    }
}

static void readable(struct client *client) {
    ssize_t size = recv(client->fd, buffer, sizeof buffer, 0);
    if (size <= 0) {
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
        gone(client);
        return;
    }
    char *data = buffer;
    if (client->state == UPGRADING) {
        /* The answer comes in one piece from every server that is asked here. */
        char *end = memmem(buffer, (size_t)size, "\r\n\r\n", 4);
        if (!end || strncmp(buffer, "HTTP/1.1 101", 12)) {
            fprintf(stderr, "sink: no upgrade: %.*s\n", (int)(size < 200 ? size : 200), buffer);
            exit(1);
        }
        data = end + 4;
        size -= data - buffer;
        char rest[4096];
        if (size > (ssize_t)sizeof rest) { errno = EMSGSIZE; fail("behind the handshake"); }
        memcpy(rest, data, (size_t)size);
        say(client);
        take(client, rest, (size_t)size);
        return;
    }
    bytes += (uint64_t)size;
    reads++;
    take(client, data, (size_t)size);
}

static void print_counts(void) {
    printf("{\"ready\":%d,\"closed\":%d,\"frames\":%llu,\"bytes\":%llu,\"reads\":%llu,\"max_us\":%llu,\"latency\":[", ready, closed,
           (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)reads, (unsigned long long)slowest);
    int any = 0;
    for (int i = 0; i < BUCKETS; i++)
        if (counted[i])
            printf("%s[%llu,%llu]", any++ ? "," : "", (unsigned long long)bucket_begin(i), (unsigned long long)counted[i]);
    printf("]}\n");
    fflush(stdout);
}

static int command(void) {
    char line[64];
    ssize_t size = read(0, line, sizeof line - 1);
    if (size <= 0) return 0;
    line[size] = 0;
    print_counts();
    if (strstr(line, "reset")) {
        frames = bytes = reads = slowest = 0;
        memset(counted, 0, sizeof counted);
    }
    return 1;
}

static void read_lines(const char *name) {
    FILE *file = fopen(name, "r");
    if (!file) fail(name);
    char *line = NULL;
    size_t room = 0;
    for (ssize_t size; (size = getline(&line, &room, file)) > 0;) {
        if (line[size - 1] == '\n') line[--size] = 0;
        clients = realloc(clients, sizeof *clients * (size_t)(total + 1));
        if (!clients) fail("realloc");
        clients[total++] = (struct client){.first = strdup(line)};
    }
    free(line);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: sink HOST PORT PATH FIRST_MESSAGES PROBE_EVERY ANSWER\n");
        return 2;
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) fail("address");
    path = argv[3];
    probe_every = atoi(argv[5]);
    answer = argv[6];
    read_lines(argv[4]);
    poller = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN}, events[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    int said = 0;
    for (;;) {
        while (next_to_open < total && opening < AT_ONCE) begin(&clients[next_to_open++]);
        if (!said && ready == total) {
            said = 1;
            print_counts();
        }
        int count = epoll_wait(poller, events, 512, 1000);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (!client) {
                if (!command()) return 0;
            } else if (client->state == OPENING) {
                int error = 0;
                socklen_t size = sizeof error;
                getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
                if (error) { errno = error; fail("connect"); }
                request(client);
            } else if (client->state != GONE) readable(client);
        }
    }
}
