// Says when this was rendered, so that one can see which render one got.
export function Rendered() {
  return (
    <p>
      rendered at <time id="rendered">{new Date().toISOString()}</time>
    </p>
  );
}
