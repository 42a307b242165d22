"""What Python costs a call, without the kernel: FrontProtocol over the pipeline over Claude over fake transports."""
import asyncio, gc, json, statistics, sys, tempfile, time, socket
from pathlib import Path
import uvloop, uvicorn
from uvicorn.server import ServerState
from freehold.api.front import FrontProtocol
from freehold.api.messages import MessagesRoute
from freehold.calls import Caller
from freehold.clock import SystemClock
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.pipeline import build
from freehold.ids import new_id
from freehold.ledger.rates import Rates
from freehold.outbound.client import Client
from freehold.outbound.connection import Connection, Limits
from freehold.outbound.dial import Origin
from freehold.store.engine import Store
from freehold.upstreams.claude import Claude
from benchmarks.gateway.run import SCENARIOS
SC={s.name:s for s in SCENARIOS}
CALLER=Caller("wrkspc_bench","apikey_bench","member")
class NoKeys:
    def check(self, headers): return CALLER
def ev(i,n=50):
    if i==0: d='event: message_start\ndata: {"type":"message_start","message":{"id":"msg_bench00000001","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}\n\n'
    elif i==1: d='event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    elif i==2: d='event: ping\ndata: {"type": "ping"}\n\n'
    elif i<n+3: d='event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token%d"}}\n\n'%(i-3)
    elif i==n+3: d='event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    elif i==n+4: d='event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}}\n\n'%n
    else: d='event: message_stop\ndata: {"type":"message_stop"}\n\n'
    b=d.encode(); return b'%x\r\n%b\r\n'%(len(b),b)
EVENTS=[ev(i) for i in range(56)]
HEAD=b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nrequest-id: req_bench00000001\r\nanthropic-ratelimit-requests-limit: 4000\r\nanthropic-ratelimit-requests-remaining: 3999\r\nconnection: keep-alive\r\n\r\n'
SMALLBODY=json.dumps({"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"word "*30}],"stop_reason":"end_turn","stop_sequence":None,"usage":{"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":30,"service_tier":"standard"}}).encode()
SMALL=b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nrequest-id: req_bench00000001\r\nanthropic-ratelimit-requests-limit: 4000\r\nanthropic-ratelimit-requests-remaining: 3999\r\nconnection: keep-alive\r\n\r\n'%len(SMALLBODY)+SMALLBODY
ANSWERS={"small":[SMALL],"large":[SMALL],"burst":[HEAD+b''.join(EVENTS)+b'0\r\n\r\n'],"flood":[HEAD+EVENTS[0],*EVENTS[1:],b'0\r\n\r\n']}
class T:
    """a fake asyncio transport"""
    def __init__(s): s.closing=False
    def is_closing(s): return s.closing
    def get_extra_info(s,n,d=None): return ('127.0.0.1',1) if n in('peername','sockname') else d
    def get_write_buffer_size(s): return 0
    def pause_reading(s): pass
    def resume_reading(s): pass
    def set_write_buffer_limits(s,*a,**k): pass
    def writelines(s,p): s.write(b''.join(p))
    def abort(s): s.closing=True
    def close(s): s.closing=True
class Up(T):
    def __init__(s,loop,answer): super().__init__(); s.loop=loop; s.answer=answer
    def write(s,d):
        # an answer's read each in a turn of its own, as from a socket
        s.at=0
        s.loop.call_soon(s.step)
    def step(s):
        p=s.answer[s.at]; s.at+=1
        s.conn.data_received(p)
        if s.at<len(s.answer): s.loop.call_soon(s.loop.call_soon, s.step)
class Down(T):
    def __init__(s,loop,end): super().__init__(); s.loop=loop; s.end=end; s.bytes=0
    def write(s,d):
        s.bytes+=len(d)
        if d.endswith(s.end): s.loop.call_soon(s.done)
async def main(names, n):
    loop=asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as f:
        clock=SystemClock(); store=await Store.open(f'sqlite:///{f}/b.db',clock=clock); rates=Rates.load()
        class Dialer:
            async def dial(self, origin, make): raise RuntimeError
        origin=Origin.of("http://127.0.0.1:1") if hasattr(Origin,'of') else Origin("http","127.0.0.1",1)
        client=Client(origin, Dialer())
        up=Up(loop,[]); conn=Connection(Limits(), lambda c:None); up.conn=conn; conn.connection_made(up); conn.rest(); client._idle[conn]=None; client._all.add(conn)
        pipeline=build(upstream=Claude("claude",client),keys=NoKeys(),store=store,rates=rates,clock=clock,retries=RetrySettings())
        route=MessagesRoute(pipeline,clock=clock)
        class App:
            bare=route.bare
            async def __call__(self,*a): raise RuntimeError
        config=uvicorn.Config(App(),http=FrontProtocol,lifespan="off",log_config=None,access_log=False,server_header=False); config.load(); config.loaded_app.bare=route.bare
        proto=FrontProtocol(config,ServerState(),{}, loop); proto._doors={p.encode():(p,r) for p,r in route.bare.items()}
        down=Down(loop,b''); proto.connection_made(down)
        out={}
        gc.collect(); gc.freeze(); gc.set_threshold(20000,20,50)
        for name in names:
            sc=SC[name]; body=sc.body()
            req=b'POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-type: application/json\r\nuser-agent: load\r\ncontent-length: %d\r\n\r\n'%len(body)+body
            up.answer=ANSWERS[name]; down.end=b'0\r\n\r\n' if sc.stream else SMALLBODY[-20:]
            best=[]
            for r in range(1):
                left=n; fut=loop.create_future()
                def done():
                    nonlocal left
                    left-=1
                    if left: proto.data_received(req)
                    else: fut.set_result(None)
                down.done=done
                t=time.thread_time_ns(); proto.data_received(req); await fut
                best.append((time.thread_time_ns()-t)/n/1000)
            out[name]=(round(min(best),1),round(statistics.median(best),1))
        print(out)
        await store.close()
if __name__=="__main__":
    names=sys.argv[1].split(','); 
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as r:
        r.run(main(names,int(sys.argv[2])))
