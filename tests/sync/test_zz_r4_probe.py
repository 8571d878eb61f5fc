import random, time
import pytest
from tests.support.archive import Archive
from tests.support.world import World
from windsor_sync import forward as fw
from windsor_sync.forward import Request, forward
from windsor_sync.runs import recent
from windsor_sync.sandbox import Faults
from windsor_sync.errors import *
from windsor_sync.delivery.engine import EngineLimits
from windsor_sync.audit import audit

class Boom(Exception): pass

def lanes(m):
    out=[]
    for k in ('userId','previousId'):
        if m.get(k): out.append('u'+m[k])
    for k in ('anonymousId','previousId'):
        if m.get(k): out.append('a'+m[k])
    return set(out)

@pytest.mark.parametrize('seed', (1,2,3,4))
def test_fuzz(world: World, seed, monkeypatch):
    ch=random.Random(seed)
    holds = seed%3==0
    a=Archive(world, **({'alias':'hold'} if holds else {}))
    world.destination |= {"give_up_after_s": ch.choice([0.3, 0.6]), "timeout_s": 1, "max_in_flight": ch.choice([1,4,16]), "wire": "segment_webhook"}
    released=[]
    held=[]
    for step in range(5):
        ms=[]
        for _ in range(ch.randrange(0,60)):
            call=ch.choice(("track","page","screen","identify","group","alias"))
            u=ch.choice([f"u{i}" for i in range(6)]+[None])
            if call=='alias': m=a.message(call, u or 'u0', previousId=f"x{ch.randrange(4)}")
            else: m=a.message(call,u,groupId='g',**({'anonymousId':f"x{ch.randrange(4)}"} if u is None or ch.random()<.3 else {}))
            ms.append(m)
        k=len(ms)//2
        a.write(ms[:k]); a.write(ms[k:]+ms[:3]); a.written=a.written[:len(a.written)-len(ms[:3])] if ms[:3] else a.written
        er=ch.choice([0,.2,.5,1]); z=0 if er==1 else 1; world.windsor.set_faults(Faults(seed=ch.randrange(99), error_rate=er, reset_rate=z*ch.choice([0,.2]), lost_answer_rate=z*ch.choice([0,.1]), busy_rate=z*ch.choice([0,.2]), retry_after_s=None))
        world.reopen()
        kill=ch.random()
        with pytest.MonkeyPatch.context() as p:
            if kill<.35:
                n=[ch.randrange(1,6)]
                ws=world.workspace
                orig=ws.ledger.checkpoint
                def cp(*x,**y):
                    n[0]-=1
                    if n[0]<=0: raise Boom
                    return orig(*x,**y)
                p.setattr(type(ws.ledger),'checkpoint',lambda self,*x,**y: cp(*x,**y))
            elif kill<.5:
                def boom(*x,**y): raise Boom
                p.setattr(fw,'settle',boom)
            elif kill<.6:
                real=world.workspace.ledger.open_run
                def boom(*x,**y): raise Boom
                p.setattr(type(world.workspace.ledger),'open_run',lambda self,*x,**y: boom())
            rel = holds and ch.random()<.2
            from dataclasses import replace
            ws=replace(world.workspace, engine_limits=replace(world.workspace.engine_limits, checkpoint_rows=ch.choice([2,1000]), checkpoint_s=.05, tries_in_turn=2, first_backoff_s=.01, longest_backoff_s=.05, rows_put_off=ch.choice([3,1000])))
            try:
                forward(ws, Request(releases_aliases=rel), world.stop, on_progress=(lambda r,d: world.stop.press()) if ch.random()<.2 else None)
            except (Boom, WindsorSyncError) as e:
                print(step, repr(e)[:80])
    world.windsor.set_faults(Faults()); world.reopen()
    for _ in range(3):
        runs=forward(world.workspace, Request(releases_aliases=holds), world.stop)
    assert audit(world.workspace, repair=False)==[]
    seen={}
    for one in world.windsor.store.accepted: seen.setdefault(one.message_id,len(seen))
    want={m['messageId']:m for m in a.written}
    assert set(seen)==set(want)
    for r in recent(world.workspace.database, limit=1000):
        assert r.finished_at; r.books.check(r.run_id)
    if not holds:
        by={}
        for m in sorted(want.values(), key=lambda m:m['timestamp']):
            for l in lanes(m): by.setdefault(l,[]).append(m['messageId'])
        for l,ids in by.items():
            assert [seen[i] for i in ids]==sorted(seen[i] for i in ids), l
