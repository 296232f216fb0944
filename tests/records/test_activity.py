"""What nobody waits for is done when no document is coming in."""

import asyncio

from appliance.records.activity import Activity


async def test_work_waits_while_a_document_comes_in_and_goes_on_afterwards():
    activity = Activity()
    await activity.wait_for_quiet(60.0, 60.0)  # nothing ever came: at once
    with activity.going_on():
        waiting = asyncio.create_task(activity.wait_for_quiet(0.0, 600.0))
        await asyncio.sleep(0.6)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 60)


async def test_a_steady_stream_does_not_stop_the_work_for_ever():
    activity = Activity()
    with activity.going_on():
        await asyncio.wait_for(activity.wait_for_quiet(0.0, 0.5), 60)
