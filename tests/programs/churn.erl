%% Processes that make large binaries, a table, a child process.
-module(churn).
-export([main/0, work/2]).

work(Parent, Seed) ->
    Add = fun(I, Sum) -> Sum + erlang:crc32(binary:copy(<<I:32>>, 1000 + I rem 3000)) end,
    Parent ! {Seed, lists:foldl(Add, 0, lists:seq(Seed, Seed + 5000))}.

main() ->
    Self = self(),
    Seeds = lists:seq(1, 8),
    [spawn(churn, work, [Self, Seed]) || Seed <- Seeds],
    [receive {Seed, Sum} -> io:format("~p ~p~n", [Seed, Sum]) end || Seed <- Seeds],
    Table = ets:new(squares, []),
    [ets:insert(Table, {I, I * I}) || I <- lists:seq(1, 200000)],
    io:format("~p~n", [ets:foldl(fun({_, Square}, Sum) -> Sum + Square end, 0, Table)]),
    io:format("~s", [os:cmd("echo a child")]),
    halt(3).
