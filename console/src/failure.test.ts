// @vitest-environment jsdom
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { act, cleanup, renderHook, waitFor } from "@testing-library/react";
import { createElement, type ReactNode } from "react";
import { afterEach, expect, it } from "vitest";
import { useFailure } from "./failure";

afterEach(cleanup);

it("tells of a failure until something is there to show, also while another attempt is under way", async () => {
  let settle!: { succeed: (value: string) => void; fail: (error: Error) => void };
  const attempt = () => new Promise<string>((succeed, fail) => (settle = { succeed, fail }));
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const wrapper = ({ children }: { children: ReactNode }) =>
    createElement(QueryClientProvider, { client: queries }, children);
  const { result } = renderHook(
    () => {
      const query = useQuery({ queryKey: ["list"], queryFn: attempt });
      return { query, failure: useFailure(query) };
    },
    { wrapper },
  );
  expect(result.current.failure).toBeNull();

  act(() => settle.fail(new Error("out of order")));
  await waitFor(() => expect(result.current.failure?.message).toBe("out of order"));

  act(() => void result.current.query.refetch());
  await waitFor(() => expect(result.current.query.isPending).toBe(true));
  expect(result.current.failure?.message).toBe("out of order");

  act(() => settle.succeed("here it is"));
  await waitFor(() => expect(result.current.failure).toBeNull());
});
