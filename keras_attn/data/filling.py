"""Fill a store: make its files in several threads, and keep what is complete when the work ends."""

import concurrent.futures

from keras_attn.data.store import DerivedStore
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError


def fill(
    store: DerivedStore, todo: list[Row], make, workers: int, total: int, progress=None, stop=None
) -> dict[str, str]:
    """Add the files of `todo`, `workers` videos at a time; `{id: problem}` of those without one.

    `make(row)` runs in a thread and gives what `store.write` returned and a dict of values for
    `store.add`; its `DataError` is the problem of that video. Any other error ends the work, after
    `stop()` if given, and what is complete by then is added. `total` counts all videos.
    """
    problems: dict[str, str] = {}
    before = total - len(todo)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(make, row): row for row in todo}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(waiting), before + 1):
                _take(store, waiting[future], future, problems)
                if progress:
                    progress(done, total, waiting[future].id)
        except BaseException:
            if stop:
                stop()
            pool.shutdown(cancel_futures=True)
            for future, row in waiting.items():
                if not future.cancelled() and not future.exception():
                    _take(store, row, future, problems)
            raise
    return problems


def _take(store, row, future, problems):
    try:
        written, values = future.result()
    except DataError as error:
        problems[row.id] = str(error)
    else:
        store.add(row, written, **values)
