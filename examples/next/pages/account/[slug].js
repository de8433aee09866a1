import Link from 'next/link';
import { Rendered } from '../../app/rendered';
import { play } from '../../lib/script';

// Rendered for each request, and `private, no-cache, no-store` by Next.js: the route overrides that.
export async function getServerSideProps({ params, draftMode = false }) {
  const { does, to, ...played } = await play(`/account/${params.slug}`);
  if (does === 'gone') {
    return { notFound: true };
  }
  if (does === 'redirect' || does === 'move') {
    return { redirect: { destination: to, permanent: does === 'move' } };
  }
  return { props: { slug: params.slug, draft: draftMode, ...played } };
}

export default function Account({ slug, draft, edition, rendered }) {
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      {draft && <p id="draft">a draft</p>}
      <Rendered edition={edition} at={rendered} />
      <Link id="here" href="/account/here">Here</Link> <Link id="there" href="/account/there">There</Link>
    </main>
  );
}
