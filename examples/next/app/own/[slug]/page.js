import { draftMode } from 'next/headers';
import { post } from '../../../lib/post';
import { Rendered } from '../../rendered';

// Next.js's own ISR: an app that has it keeps it, and Coppice asks again while Next.js says that its page is out of date.
export const revalidate = 2;

export function generateStaticParams() {
  return [{ slug: 'built' }];
}

export default async function Own({ params }) {
  const { slug } = await params;
  const { edition, rendered } = await post(`/own/${slug}`);
  const { isEnabled } = await draftMode();
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      {isEnabled && <p id="draft">a draft</p>}
      <Rendered edition={edition} at={rendered} />
    </main>
  );
}
