import { Rendered } from '../rendered';

// Next.js's own ISR.
export const revalidate = 1;

export default function News() {
  return (
    <main>
      <h1>News</h1>
      <Rendered />
    </main>
  );
}
