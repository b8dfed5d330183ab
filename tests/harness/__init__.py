"""Faults around a store, caused on purpose; a storage that joins the tables below is held to the same.

==========================  ==================================  ===================================================
what goes wrong             made by                             storages, and their tests
==========================  ==================================  ===================================================
a process dies in a call    `faults.cut_off_at`                 local: `test_crash_points`, `test_backup`
a process dies somewhere    `kill -9`                           local, PostgreSQL: `test_kill`
… before an SQL statement   SQLite's trace                      its indexes: `test_killed_indexes`
a system call fails         `faults.failing`                    local: `test_errno`, `test_settle`
… in libraries too          `strace --inject`                   local: `test_system_calls`
the order on the disk       `strace`                            local: `test_durability`
full, read-only, damaged    a small file system, another user   local: `test_disks`, `test_full_disk`, `test_verify`
an answer is cut or late    `http_proxy.Proxy`                  service: `client/test_lost_answers`, the CKAN extension
…                           `postgres_proxy.Proxy`              PostgreSQL: `test_postgres_outcomes`, its bundles
…                           `hosts/server.HostServer.fault`     GitHub, GitLab, Gitea, Git: `hosts/test_faults`
the outcome is unknown      all of them                         `test_settle` here and of hosts, PostgreSQL, service
the clock steps             `test_feed.SteppedClock`            local: `test_feed`; PostgreSQL numbers its changes
…                           `test_clock_steps.World`            local: backups, imports; bundles: `bundle/test_model`
Git works beside            Git's housekeeping, in loops        local: `test_beside_git`
a process forks             threads that pack, write, read      local: `test_forks`; hosts, PostgreSQL: `*_fork*`
==========================  ==================================  ===================================================

To join, a storage gives a way to open itself and to look at all of it (`faults.state`), and runs the writes of a test.
Memory has nothing that outlives a process: it is the model that the others are compared with (`test_model`). The long
versions, of `make soak`, print in the end what each counted (`conftest.counted`): rounds, kills, changes that were
acknowledged, and those of them that were lost.
"""
