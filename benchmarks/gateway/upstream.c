/* Given to this project together with its bars (fake upstream of its gateway benchmark); unchanged. */
/* Fake Anthropic Messages upstream: one thread, epoll, keep-alive.
 *   upstream PORT [HOST]
 * Behaviour is chosen by a marker anywhere in the request body, so that one
 * upstream serves every scenario through any gateway:
 *   @@think=50,tick=10,events=50@@   (milliseconds, milliseconds, count)
 *   @@think=0,status=429@@           an Anthropic shaped error with retry-after, before any answer
 * Body has "stream":true (any spacing) -> SSE. tick=0 -> the whole stream in one write;
 * tick>0 -> one write per event, tick ms apart, after think ms.
 * Path /chat/completions (suffix) -> OpenAI shaped answers, else Anthropic shaped.
 * GET /__stats -> counters, GET /__last -> the last request's head and body as received.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct conn {
  int fd; char *in; size_t in_len, in_cap;
  char *out; size_t out_len, out_off, out_cap;
  int busy, openai, stream, phase, events, close_after, armed, gen, status;
  double tick;
} conn;
typedef struct { double t; conn *c; int gen; } timer_;
static timer_ *heap; static size_t hn, hcap;
static int ep; static long n_req, n_conn, n_stream, n_open, n_events, n_abort;
static char *last; static size_t last_len;
static conn **dead; static size_t ndead, cdead;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static void push(double t, conn *c) {
  if (hn == hcap) { hcap = hcap ? hcap * 2 : 1024; heap = realloc(heap, hcap * sizeof *heap); }
  size_t i = hn++;
  while (i && heap[(i - 1) / 2].t > t) { heap[i] = heap[(i - 1) / 2]; i = (i - 1) / 2; }
  heap[i] = (timer_){t, c, c->gen}; c->armed++;
}
static timer_ pop(void) {
  timer_ r = heap[0], l = heap[--hn]; size_t i = 0;
  for (;;) { size_t k = 2 * i + 1; if (k >= hn) break; if (k + 1 < hn && heap[k + 1].t < heap[k].t) k++;
    if (heap[k].t >= l.t) break; heap[i] = heap[k]; i = k; }
  if (hn) heap[i] = l;
  r.c->armed--; return r;
}
static void append(conn *c, const char *s, size_t n) {
  if (c->out_len + n > c->out_cap) { while (c->out_len + n > c->out_cap) c->out_cap = c->out_cap ? c->out_cap * 2 : 8192; c->out = realloc(c->out, c->out_cap); }
  memcpy(c->out + c->out_len, s, n); c->out_len += n;
}
static void conn_close(conn *c) {
  if (c->fd < 0) return;
  if (c->busy) n_abort++;
  close(c->fd); c->fd = -1; c->gen++; n_open--;
  if (ndead == cdead) { cdead = cdead ? cdead * 2 : 64; dead = realloc(dead, cdead * sizeof *dead); }
  dead[ndead++] = c;
}
static void reap(void) {
  size_t k = 0;
  for (size_t i = 0; i < ndead; i++) { conn *c = dead[i]; if (c->armed) { dead[k++] = c; continue; } free(c->in); free(c->out); free(c); }
  ndead = k;
}
static void flush(conn *c) {
  while (c->fd >= 0 && c->out_off < c->out_len) {
    ssize_t w = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
    if (w > 0) c->out_off += w;
    else if (w < 0 && errno == EAGAIN) { struct epoll_event e = {EPOLLIN | EPOLLOUT, {.ptr = c}}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); return; }
    else { conn_close(c); return; }
  }
  c->out_len = c->out_off = 0;
}
static const char AHDR[] = "Content-Type: application/json\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\nanthropic-organization-id: org_bench\r\nanthropic-ratelimit-requests-remaining: 3999\r\n";
static const char *TXT = "Hello! I am a fake upstream. Here is a short sentence of about a hundred bytes for the gateway to pass on.";
static int event(conn *c, int i, int n, char *b, size_t cap) { /* event i of n+6 (anthropic) */
  char id[64]; snprintf(id, sizeof id, "msg_bench%08ld", n_req);
  if (c->openai) {
    if (i < n) return snprintf(b, cap, "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token%d\"},\"finish_reason\":null}]}\n\n", id, i);
    if (i == n) return snprintf(b, cap, "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", id);
    if (i == n + 1) return snprintf(b, cap, "data: [DONE]\n\n");
    return 0;
  }
  if (i == 0) return snprintf(b, cap, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5-20250929\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\n", id);
  if (i == 1) return snprintf(b, cap, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
  if (i == 2) return snprintf(b, cap, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
  if (i < n + 3) return snprintf(b, cap, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" token%d\"}}\n\n", i - 3);
  if (i == n + 3) return snprintf(b, cap, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
  if (i == n + 4) return snprintf(b, cap, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":%d}}\n\n", n);
  if (i == n + 5) return snprintf(b, cap, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
  return 0;
}
static void add_chunk(conn *c, const char *b, int n) { char h[16]; int k = snprintf(h, sizeof h, "%x\r\n", n); append(c, h, k); append(c, b, n); append(c, "\r\n", 2); }
static void process(conn *c);
static void finish(conn *c) { c->busy = 0; c->stream = 0; if (c->close_after) { conn_close(c); return; } process(c); }
static void step(conn *c, double t) { /* a timer fired for c */
  char b[1024];
  if (c->status) {
    int n = snprintf(b, sizeof b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"bench says %d\"},\"request_id\":\"req_bench\"}", c->status == 429 ? "rate_limit_error" : c->status == 529 ? "overloaded_error" : "invalid_request_error", c->status);
    char h[256]; int k = snprintf(h, sizeof h, "HTTP/1.1 %d Error\r\nContent-Type: application/json\r\nretry-after: 7\r\nrequest-id: req_bench\r\nContent-Length: %d\r\n\r\n", c->status, n);
    append(c, h, k); append(c, b, n); flush(c); if (c->fd >= 0) finish(c); return;
  }
  if (!c->stream) {
    int n;
    char body[2048], h[1024];
    if (c->openai) n = snprintf(body, sizeof body, "{\"id\":\"chatcmpl-%ld\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":30,\"total_tokens\":55}}", n_req, TXT);
    else n = snprintf(body, sizeof body, "{\"id\":\"msg_bench%08ld\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5-20250929\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":30,\"service_tier\":\"standard\"}}", n_req, TXT);
    int k = snprintf(h, sizeof h, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n", AHDR, n);
    append(c, h, k); append(c, body, n); flush(c); if (c->fd >= 0) finish(c); return;
  }
  if (c->phase == 0) {
    static const char H[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\nTransfer-Encoding: chunked\r\n\r\n";
    append(c, H, sizeof H - 1);
  }
  for (;;) {
    int n = event(c, c->phase++, c->events, b, sizeof b);
    if (!n) { append(c, "0\r\n\r\n", 5); flush(c); if (c->fd >= 0) finish(c); return; }
    n_events++; add_chunk(c, b, n);
    if (c->tick > 0) { flush(c); if (c->fd >= 0) push(t + c->tick, c); return; }
  }
}
static char *hfind(char *h, size_t n, const char *name) { /* header value or NULL */
  size_t m = strlen(name);
  for (char *p = h, *e = h + n; p + m < e;) { if (!strncasecmp(p, name, m)) { p += m; while (*p == ' ') p++; return p; } p = memchr(p, '\n', e - p); if (!p) break; p++; }
  return 0;
}
static void process(conn *c) {
  while (c->fd >= 0 && !c->busy && c->in_len) {
    char *e = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!e) return;
    size_t hl = e + 4 - c->in, bl = 0, used = hl; char *body = e + 4;
    char *v = hfind(c->in, hl, "content-length:"), *te = hfind(c->in, hl, "transfer-encoding:"), *ex = hfind(c->in, hl, "expect:");
    if (ex && c->in_len == hl && c->phase != -7) { c->phase = -7; append(c, "HTTP/1.1 100 Continue\r\n\r\n", 25); flush(c); }
    char *dec = 0;
    if (v) { bl = strtoul(v, 0, 10); if (c->in_len < hl + bl) return; used = hl + bl; }
    else if (te && !strncasecmp(te, "chunked", 7)) {
      size_t p = hl; size_t dn = 0; int done = 0;
      dec = malloc(c->in_len);
      while (p < c->in_len) {
        char *nl = memchr(c->in + p, '\n', c->in_len - p); if (!nl) break;
        size_t k = strtoul(c->in + p, 0, 16), st = nl + 1 - c->in;
        if (st + k + 2 > c->in_len) break;
        if (!k) { done = 1; p = st + 2; break; }
        memcpy(dec + dn, c->in + st, k); dn += k; p = st + k + 2;
      }
      if (!done) { free(dec); return; }
      body = dec; bl = dn; used = p;
    }
    if (!strncmp(c->in, "GET /__stats", 12)) {
      char b[512], h[128]; int n = snprintf(b, sizeof b, "{\"requests\":%ld,\"connections\":%ld,\"open\":%ld,\"streams\":%ld,\"events\":%ld,\"aborted\":%ld}\n", n_req, n_conn, n_open, n_stream, n_events, n_abort);
      int k = snprintf(h, sizeof h, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", n);
      append(c, h, k); append(c, b, n); flush(c);
    } else if (!strncmp(c->in, "GET /__last", 11)) {
      char h[128]; int k = snprintf(h, sizeof h, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", last_len);
      append(c, h, k); append(c, last ? last : "", last_len); flush(c);
    } else if (!strncmp(c->in, "GET ", 4) || !strncmp(c->in, "HEAD ", 5)) {
      const char *r = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"; append(c, r, strlen(r)); flush(c);
    } else {
      n_req++; c->busy = 1; c->phase = 0; c->events = 50; c->tick = 0; c->status = 0; double think = 0;
      char *le = memchr(c->in, '\r', hl);
      c->openai = memmem(c->in, le - c->in, "chat/completions", 16) != 0;
      char *m = bl ? memmem(body, bl, "@@think=", 8) : 0;
      if (m) { think = atof(m + 8) * 1e-3; char *q = memmem(m, bl - (m - body) < 64 ? bl - (m - body) : 64, "tick=", 5); if (q) c->tick = atof(q + 5) * 1e-3;
        q = memmem(m, bl - (m - body) < 64 ? bl - (m - body) : 64, "events=", 7); if (q) c->events = atoi(q + 7);
        q = memmem(m, bl - (m - body) < 64 ? bl - (m - body) : 64, "status=", 7); if (q) c->status = atoi(q + 7); }
      char *s = bl ? memmem(body, bl, "\"stream\"", 8) : 0; c->stream = 0;
      if (s) { s += 8; while (s < body + bl && (*s == ' ' || *s == ':')) s++; if (s + 4 <= body + bl && !memcmp(s, "true", 4)) { c->stream = 1; n_stream++; } }
      v = hfind(c->in, hl, "connection:"); c->close_after = v && !strncasecmp(v, "close", 5);
      if (last_len < 300000) { free(last); last_len = hl + bl; last = malloc(last_len); memcpy(last, c->in, hl); memcpy(last + hl, body, bl); if (last_len > 20000) last_len = 20000; }
      double t = now();
      memmove(c->in, c->in + used, c->in_len - used); c->in_len -= used; free(dec);
      if (think > 0) push(t + think, c); else step(c, t);
      continue;
    }
    memmove(c->in, c->in + used, c->in_len - used); c->in_len -= used; free(dec);
  }
}
int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  int port = argc > 1 ? atoi(argv[1]) : 9000, one = 1;
  int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {AF_INET, htons(port), {inet_addr(argc > 2 ? argv[2] : "127.0.0.1")}, {0}};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
  ep = epoll_create1(0);
  struct epoll_event ev[512], le = {EPOLLIN, {.ptr = 0}}; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &le);
  for (;;) {
    struct timespec ts, *tp = 0;
    if (hn) { double d = heap[0].t - now(); if (d < 0) d = 0; ts.tv_sec = (time_t)d; ts.tv_nsec = (d - ts.tv_sec) * 1e9; tp = &ts; }
    int n = epoll_pwait2(ep, ev, 512, tp, 0);
    for (int i = 0; i < n; i++) {
      conn *c = ev[i].data.ptr;
      if (!c) {
        for (;;) { int fd = accept4(ls, 0, 0, SOCK_NONBLOCK); if (fd < 0) break; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          c = calloc(1, sizeof *c); c->fd = fd; n_conn++; n_open++; struct epoll_event e = {EPOLLIN, {.ptr = c}}; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e); }
        continue;
      }
      if (c->fd < 0) continue;
      if (ev[i].events & EPOLLOUT) { flush(c); if (c->fd >= 0 && c->out_len == 0) { struct epoll_event e = {EPOLLIN, {.ptr = c}}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); } }
      if (c->fd >= 0 && ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        for (;;) {
          if (c->in_cap - c->in_len < 65536) { c->in_cap = c->in_cap ? c->in_cap * 2 : 131072; c->in = realloc(c->in, c->in_cap); }
          ssize_t r = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
          if (r > 0) { c->in_len += r; if ((size_t)r < 65536) break; }
          else if (r < 0 && errno == EAGAIN) break;
          else { conn_close(c); break; }
        }
        if (c->fd >= 0) process(c);
      }
    }
    double t = now();
    while (hn && heap[0].t <= t + 20e-6) { timer_ x = pop(); if (x.c->fd >= 0 && x.c->gen == x.gen) step(x.c, x.t); }
    if (ndead) reap();
  }
}
